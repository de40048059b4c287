"""What an engine says on the way to an answer: its events taken apart, its errors raised."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from inference_service.answers.answer import Answer
from inference_service.answers.sse import DONE
from inference_service.engines.errors import error_of
from jan.errors import InternalError


def hear(events: Sequence[bytes], answer: Answer) -> tuple[list[bytes], bool]:
    """Feed an answer with an engine's events; what it has to say now, and whether the engine is done.

    Raises JanError: the engine reports an error, or says something that is no chunk.
    """
    said: list[bytes] = []
    for data in events:
        if data == DONE:
            return said, True
        try:
            chunk = orjson.loads(data)
            if chunk is None:  # llama.cpp says that between the prompts of one request
                continue
            if chunk.get("error") is None:  # some servers name it in every chunk
                said += answer.feed(chunk)
                continue
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InternalError("The engine said something that is no part of an answer.") from error
        raise error_of(_status(chunk["error"]), data)
    return said, False


def _status(error: object) -> int:
    """The HTTP status that an engine put into an error which it sent after its 200."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 500
