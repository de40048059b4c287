"""Text from people stays text: a model's special tokens in it are broken up before the engine sees them.

llama.cpp and Hugging Face's tokenizers read `<|im_start|>system` in a person's message as the beginning of a turn
(docs/security.md S25 and S27, docs/decisions/0031-special-tokens-in-text-are-broken-up.md). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from inference_service.engines.images import is_image

BREAK: Final = "\u200b"
"""What is put behind the first character of a special token: a space without width."""

_MAX_TOKEN_CHARS: Final = 128  # a longer one is broken wherever its beginning stands
_MAX_DEPTH: Final = 64  # of arguments: some hundred levels are too many for vLLM, tens of thousands kill llama.cpp


class PlainText:
    """Breaks up the special tokens of one model. One pass over a text, however many tokens there are."""

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        """Tokens of one character cannot be broken up, and are left out."""
        trie: dict[str, Any] = {}
        for token in tokens:
            node = trie
            for character in token[:_MAX_TOKEN_CHARS] if len(token) > 1 else "":
                node = node.setdefault(character, {})
            if node is not trie:
                node[""] = {}
        begins = [f"{re.escape(first)}(?={_rest(node)})" for first, node in sorted(trie.items())]
        self._begin = re.compile("|".join(begins)) if begins else None

    def of(self, value: Any) -> Any:
        """A JSON value in which no text holds a special token; keys count as texts. Everything else is as it was."""
        if self._begin is None:
            return value
        if isinstance(value, str):
            return self._begin.sub(lambda first: first[0] + BREAK, value)
        if isinstance(value, Mapping):
            return {self.of(key): self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        return value

    def chat(self, chat: Mapping[str, Any]) -> dict[str, Any]:
        """A chat request with plain `messages` and `tools`."""
        plain = {**chat, "messages": self.messages(chat["messages"])}
        return plain if chat.get("tools") is None else {**plain, "tools": self.of(chat["tools"])}

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """A conversation; in the arguments of calls, which are JSON in text, also what JSON's escapes hide.

        Arguments that are no JSON, which models do write, become a JSON string of that text, and none at all an empty
        object: chat templates read them as JSON. So do those that nest too deeply, by which llama.cpp is killed.
        """
        return [self._message(message) for message in messages]

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        said = {key: value for key, value in message.items() if key not in ("tool_calls", "content")}
        plain: dict[str, Any] = self.of(said)
        if "content" in message:
            plain["content"] = self._content(message["content"])
        if message.get("tool_calls") is not None:
            plain["tool_calls"] = [self._call(call) for call in message["tool_calls"]]
        return plain

    def _content(self, content: Any) -> Any:
        """An image is no text: a token in its base64 is none, and megabytes need not be looked through."""
        if not isinstance(content, list):
            return self.of(content)
        return [part if is_image(part) else self.of(part) for part in content]

    def _call(self, call: Mapping[str, Any]) -> Any:
        function = call.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
            return self.of(call)
        arguments = self._arguments(function["arguments"])
        return {**self.of(call), "function": {**self.of(function), "arguments": arguments}}

    def _arguments(self, text: str) -> str:
        if not text.strip():
            return "{}"
        try:
            value = orjson.loads(text)
            sound = not _nests_beyond(value, _MAX_DEPTH)
        except ValueError:
            sound = False
        if not sound:
            return orjson.dumps(self.of(text)).decode()
        plain = self.of(value)
        return text if plain == value else orjson.dumps(plain).decode()


def _nests_beyond(value: Any, depth: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(depth == 0 or _nests_beyond(item, depth - 1) for item in items)


def _rest(node: Mapping[str, Any]) -> str:
    """A pattern for what may follow: nothing more once the shortest token is whole."""
    if "" in node:
        return ""
    parts = [re.escape(character) + _rest(child) for character, child in sorted(node.items())]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"
