"""The load: streamed chats of a fixed length from several clients at once, and what they saw."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import orjson

_PROMPT = "Story {number}. Tell a long story of a river and its town."
_TEMPERATURE = 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """A way to the engine: where chats are posted, with which session, under which model name."""

    name: str
    url: str
    model: str
    session: aiohttp.ClientSession


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer: seconds to its first token, its tokens."""

    first_seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Burst:
    """What some clients saw in one go."""

    heard: tuple[Heard, ...]
    seconds: float

    @property
    def tokens(self) -> int:
        """All tokens of it."""
        return sum(one.tokens for one in self.heard)

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all answers in the time that the whole took."""
        return self.tokens / self.seconds


class Asker:
    """Asks; every prompt has a number of its own, so that none is remembered, and all are equally long."""

    def __init__(self, tokens: int) -> None:
        """`tokens` is how long each answer may be; the prompt is for answers that are longer."""
        self._tokens = tokens
        self._numbers: Iterator[int] = itertools.count(100_000)

    async def burst(self, way: Way, streams: int, answers: int) -> Burst:
        """So many clients at once, each asking for so many answers, one after the other."""

        async def client() -> list[Heard]:
            return [await self.ask(way) for _ in range(answers)]

        began = time.perf_counter()
        heard = await asyncio.gather(*(client() for _ in range(streams)))
        return Burst(tuple(itertools.chain.from_iterable(heard)), time.perf_counter() - began)

    async def ask(self, way: Way) -> Heard:
        """One streamed chat. Nothing is parsed after the first token until the end: the client shares the machine."""
        body = {
            "model": way.model,
            "messages": [{"role": "user", "content": _PROMPT.format(number=next(self._numbers))}],
            "max_tokens": self._tokens,
            "temperature": _TEMPERATURE,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began = time.perf_counter()
        first_seconds = 0.0
        said = b""
        async with way.session.post(f"{way.url}/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            async for piece in response.content.iter_any():
                said += piece
                if not first_seconds and _has_text(said):
                    first_seconds = time.perf_counter() - began
        return Heard(first_seconds, _tokens(said))


def _events(said: bytes) -> list[bytes]:
    """The data of every whole event."""
    return [line[6:] for line in said.split(b"\n")[:-1] if line.startswith(b"data: {")]


def _has_text(said: bytes) -> bool:
    choices = (choice for data in _events(said) for choice in orjson.loads(data)["choices"])
    return any(choice["delta"].get("content") for choice in choices)


def _tokens(said: bytes) -> int:
    """The completion tokens that the last event with a usage tells. Raises ValueError: the answer was not whole."""
    for data in reversed(_events(said)):
        event = orjson.loads(data)
        if event.get("usage"):
            return int(event["usage"]["completion_tokens"])
    raise ValueError(f"an answer without an end: {said[-300:]!r}")
