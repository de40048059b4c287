"""A conversation of Anthropic's blocks as chats know it. Pure.

A result of a tool is a block of the person's turn there and a message of its own here; turns of one side that follow
each other are one turn. What a model thought before earlier answers is not shown to it again. An image that a tool gave
back stands at the beginning of the person's message behind the results, since those are texts in chats, and both places
bear its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from typing import TypeVar

import orjson

from gateway.schemas.anthropic_blocks import (
    AssistantBlock,
    ContentSource,
    DocumentBlock,
    ImageBlock,
    Message,
    ReadDocument,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserBlock,
)
from gateway.schemas.common import JsonObject
from jan.errors import InvalidArgumentError

BlockT = TypeVar("BlockT")

_BETWEEN_TEXTS = "\n\n"
_FAILED = "Error: "
_SHOWN_BELOW = "(See image {number} below.)"
_NUMBERED = "Image {number}:"


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one side said without a word of the other's; `place` is that of its first message."""

    place: int
    role: str
    blocks: list[UserBlock | AssistantBlock]

    @property
    def calls(self) -> list[str]:
        """The ids of the calls that were made."""
        return [block.id for block in self.blocks if isinstance(block, ToolUseBlock)]

    @property
    def results(self) -> list[str]:
        """The ids of the calls whose results are here."""
        return [block.tool_use_id for block in self.blocks if isinstance(block, ToolResultBlock)]


def conversation(system: Sequence[TextBlock], messages: Sequence[Message]) -> list[JsonObject]:
    """The messages of a chat.

    Raises InvalidArgumentError: a call without its result in the message behind it, or a result without its call.
    """
    turns = _turns(messages)
    _check_results(turns)
    told = [_system(system)] if system else []
    for turn in turns:
        match turn.role:
            case "system":
                told.append(_system(turn.blocks))
            case "assistant":
                told.append(_assistant(turn.blocks))
            case _:
                told += _user(turn.blocks)
    return told


def without_begun_answer(messages: Sequence[Message]) -> tuple[Sequence[Message], str]:
    """The messages up to the person's last one, and what of the answer the client has written; empty for nothing.

    Raises InvalidArgumentError: a call without its result stands there.
    """
    last = next((place for place in range(len(messages), 0, -1) if messages[place - 1].role != "assistant"), 0)
    begun = [block for message in messages[last:] for block in message.content]
    _check_results([*_turns(messages), _Turn(len(messages), "user", [])])
    return messages[:last], _text(begun)


def image_names(messages: Sequence[Message]) -> list[str]:
    """What errors call each image, in the order in which the chat shows them."""
    named: list[str] = []
    for _, turn in groupby(enumerate(messages), key=lambda placed: placed[1].role):
        blocks = [named for place, message in turn for named in _named(f"messages[{place}]", message.content)]
        for name, result in blocks:
            if isinstance(result, ToolResultBlock):
                named += _sources_of_images(_named(name, result.content))
        named += _sources_of_images(blocks)
    return named


def _named(name: str, blocks: Iterable[object]) -> list[tuple[str, object]]:
    """Blocks with what the request calls them."""
    return [(f"{name}.content[{index}]", block) for index, block in enumerate(blocks)]


def _sources_of_images(blocks: Iterable[tuple[str, object]]) -> Iterator[str]:
    for name, block in blocks:
        if isinstance(block, ImageBlock):
            yield f"{name}.source"
        elif isinstance(block, DocumentBlock) and isinstance(block.source, ContentSource):
            yield from _sources_of_images(_named(f"{name}.source", block.source.content))


def _turns(messages: Sequence[Message]) -> list[_Turn]:
    turns: list[_Turn] = []
    for place, message in enumerate(messages):
        if not turns or turns[-1].role != message.role:
            turns.append(_Turn(place, message.role, []))
        turns[-1].blocks.extend(_shown(message.content))
    return turns


def _shown(blocks: Iterable[BlockT]) -> Iterator[BlockT | TextBlock | ImageBlock]:
    """Blocks with what the model is shown of each document in its place."""
    for block in blocks:
        if isinstance(block, ReadDocument):
            yield from block.shown
        else:
            yield block


def _check_results(turns: Sequence[_Turn]) -> None:
    made: list[str] = []
    for turn in turns:
        results, asked, given = turn.results, set(made), set(turn.results)
        missing = next((id_ for id_ in made if id_ not in given), None)
        if missing is not None:
            message = f"'tool_use' ids were found without 'tool_result' blocks in the next message: {missing}."
            raise InvalidArgumentError(message, param=f"messages[{turn.place - 1}]")
        unasked = next((id_ for id_ in results if id_ not in asked), None)
        if unasked is not None or len(given) < len(results):
            raise _unasked(turn, unasked or results[0])
        made = turn.calls
        if len(set(made)) < len(made):
            raise InvalidArgumentError("'tool_use' ids must be unique.", param=f"messages[{turn.place}]")


def _unasked(turn: _Turn, id_: str) -> InvalidArgumentError:
    message = (
        f"Unexpected 'tool_use_id' in a 'tool_result' block: {id_}. Each needs one 'tool_use' in the message before."
    )
    return InvalidArgumentError(message, param=f"messages[{turn.place}]")


def _system(blocks: Iterable[object]) -> JsonObject:
    return {"role": "system", "content": _text(blocks)}


def _assistant(blocks: Sequence[object]) -> JsonObject:
    calls = [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]
    text = _text(blocks)
    if not calls:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text or None, "tool_calls": calls}


def _call(block: ToolUseBlock) -> JsonObject:
    function = {"name": block.name, "arguments": orjson.dumps(block.input).decode()}
    return {"id": block.id, "type": "function", "function": function}


def _user(blocks: Sequence[object]) -> list[JsonObject]:
    """What tools gave back comes first: chat templates expect it right behind the calls."""
    results = [block for block in blocks if isinstance(block, ToolResultBlock)]
    numbers = count(1)
    told = [_result(result, numbers) for result in results]
    shown = [part for number, image in enumerate(_images(results), 1) for part in _numbered(number, image)]
    said = [block for block in blocks if isinstance(block, TextBlock | ImageBlock)]
    if shown or any(isinstance(block, ImageBlock) for block in said):
        return [*told, {"role": "user", "content": [*shown, *map(_part, said)]}]
    return [*told, {"role": "user", "content": _text(said)}] if said else told


def _images(results: Iterable[ToolResultBlock]) -> Iterator[ImageBlock]:
    return (block for result in results for block in _shown(result.content) if isinstance(block, ImageBlock))


def _result(result: ToolResultBlock, numbers: Iterator[int]) -> JsonObject:
    """A result; in the place of each image stands which one it is. numbers: of the images to come."""
    told = [
        _SHOWN_BELOW.format(number=next(numbers)) if isinstance(block, ImageBlock) else block.text
        for block in _shown(result.content)
        if isinstance(block, TextBlock | ImageBlock)
    ]
    text = _BETWEEN_TEXTS.join(told)
    content = f"{_FAILED}{text}" if result.is_error else text
    return {"role": "tool", "tool_call_id": result.tool_use_id, "content": content}


def _numbered(number: int, image: ImageBlock) -> list[JsonObject]:
    return [{"type": "text", "text": _NUMBERED.format(number=number)}, _part(image)]


def _part(block: TextBlock | ImageBlock) -> JsonObject:
    if isinstance(block, ImageBlock):
        return {"type": "image_url", "image_url": {"url": block.source.address}}
    return {"type": "text", "text": block.text}


def _text(blocks: Iterable[object]) -> str:
    return _BETWEEN_TEXTS.join(block.text for block in blocks if isinstance(block, TextBlock))
