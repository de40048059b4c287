"""ChatGPT's conversations.json: a tree of messages, of which one path was shown.

OpenAI does not publish the format. What is read here was seen in exports of 2023 to 2026 by those who wrote about them:
`mapping` holds the nodes by id, `current_node` is the last one shown, and an answer is several nodes: thoughts, code,
what tools said, text.
"""

from collections.abc import Iterable, Iterator

from storage_service.store.forms import fields
from storage_service.store.imports import chatgpt_content as content
from storage_service.store.imports.conversations import Conversation, Loss, Product
from storage_service.store.imports.draft import Draft, Original, Said, Source
from storage_service.store.imports.tree import latest_leaf, path_to
from storage_service.store.records import JsonObject, Role

Node = tuple[str, JsonObject]

# How an answer ended that did not end by itself, in OpenAI's words for a message.
_MAX_WORD = 200
_INCOMPLETE = {"max_tokens": "max_tokens", "interrupted": "run_cancelled"}


def convert(raw: JsonObject, original: Original, source: Source) -> Conversation:
    """A conversation from its JSON, whatever that holds."""
    source_id = fields.text(raw, "conversation_id") or fields.text(raw, "id")
    draft = Draft(Product.CHATGPT, source_id, original, source)
    mapping = fields.obj(raw, "mapping")
    path = _path(raw, mapping, draft)
    others = mapping.keys() - set(path)
    draft.lose(Loss.OTHER_BRANCHES, sum(content.is_reply(_message(mapping[node])) for node in others))
    shown = _shown([(node, _message(mapping[node])) for node in path], draft)
    for turn in _turns(shown):
        _add(draft, turn)
    metadata = {key: raw[key] for key in ("is_archived", "is_starred") if raw.get(key) is True}
    model = fields.text(raw, "default_model_slug")
    return draft.finish(
        fields.text(raw, "title"),
        fields.time_ms(raw, "create_time"),
        fields.time_ms(raw, "update_time"),
        metadata | ({"model_slug": model[:_MAX_WORD]} if model else {}),
    )


def _path(raw: JsonObject, mapping: JsonObject, draft: Draft) -> list[str]:
    """The nodes that were shown, from the first one on."""
    parents = {node: value.get("parent") if isinstance(value, dict) else None for node, value in mapping.items()}
    current = raw.get("current_node")
    if isinstance(current, str) and current in parents:
        leaf: str | None = current
    else:
        draft.lose(Loss.BROKEN_TREE, 0 if current is None else 1)
        times = {node: fields.time_ms(_message(value), "create_time") or 0 for node, value in mapping.items()}
        leaf = latest_leaf(parents, times)
    path, is_whole = path_to(leaf, parents) if leaf is not None else ([], True)
    draft.lose(Loss.BROKEN_TREE, 0 if is_whole else 1)
    return path


def _message(node: object) -> JsonObject:
    return fields.obj(node, "message") if isinstance(node, dict) else {}


def _shown(nodes: Iterable[Node], draft: Draft) -> Iterator[Node]:
    """The nodes whose messages people saw; hidden ones count as lost when they say something."""
    for node, message in nodes:
        if not content.is_hidden(message):
            yield node, message
        elif content.says_something(message):
            draft.lose(Loss.HIDDEN)


def _turns(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    """A person's message, or all that was done to answer it: thoughts, calls of tools, what they said, the text."""
    turn: list[Node] = []
    for node, message in nodes:
        if turn and not (_is_answer(turn[0][1]) and _is_answer(message)):
            yield turn
            turn = []
        turn.append((node, message))
    if turn:
        yield turn


def _is_answer(message: JsonObject) -> bool:
    return content.role_of(message) in ("assistant", "tool")


def _add(draft: Draft, turn: list[Node]) -> None:
    said = Said()
    for _, message in turn:
        content.add(draft, said, message)
    node, last = turn[-1]
    times = [time for _, message in turn if (time := fields.time_ms(message, "create_time"))]
    ending = fields.text(fields.obj(fields.obj(last, "metadata"), "finish_details"), "type")
    draft.add(
        said,
        Role.ASSISTANT if _is_answer(last) else fields.word(Role, content.role_of(last), Role.USER),
        fields.text(last, "id") or node,
        created_ms=min(times, default=None),
        completed_ms=max(times, default=None),
        incomplete_reason=_INCOMPLETE.get(ending) if _is_answer(last) else None,
    )
