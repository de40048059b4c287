"""People who ask while everything around them dies, and do not give up.

They send again under their Idempotency-Key, and take streams up again behind the last event that they heard, at another
gateway each time.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.chaos.engines.people import TERMINAL, Told
from tests.chaos.queue.engine import MODEL

KINDS: Final = ("streamed run", "polled run", "stored chat", "streamed chat", "whole chat")
_AGAIN_SECONDS = 0.2
_TRY_SECONDS = 20.0
# A key that is locked for longer is not held by an answer on its way.
_LOCKED_TRIES = 25
# One that a dead gateway left is free once that one's lease stood still for 8 seconds, and somebody has looked.
_LOCKED_BY_THE_DEAD_TRIES = 75
# Nothing was done, or it is not known: what is sent again under its key is not done twice.
_LATER = frozenset({409, 429, 500, 502, 503, 504, 507})


@dataclass(slots=True)
class Asked(Told):
    """What one of them was told, over all of his connections.

    last: the number of the last event. forgotten: the events were not kept. locked: how often his key was in use.
    breaks: why connections ended early. wrong: what must never be seen.
    """

    last: int = 0
    chat_id: str = ""
    forgotten: bool = False
    locked: int = 0
    breaks: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    ended_at: float = 0.0

    def was_locked_out(self, *, by_the_dead: bool) -> bool:
        """Whether his key was in use for longer than its answer takes, or than a gateway that died may hold it."""
        return self.locked >= (_LOCKED_BY_THE_DEAD_TRIES if by_the_dead else _LOCKED_TRIES)


class Person:
    """Asks one thing until he has his answer."""

    def __init__(self, session: aiohttp.ClientSession, gateways: Sequence[str], asked: Asked) -> None:
        self.asked = asked
        self._session = session
        self._gateways = itertools.cycle(gateways)

    async def ask(self) -> None:
        """Ask, and stay until the end."""
        once = {
            "streamed run": self._streamed_run,
            "polled run": self._polled_run,
            "stored chat": self._stored_chat,
            "streamed chat": self._streamed_chat,
            "whole chat": self._whole_chat,
        }[self.asked.kind]
        while not self.asked.end:
            try:
                async with asyncio.timeout(_TRY_SECONDS):
                    await once()
                if self.asked.kind != "polled run" and not self.asked.end:
                    self.asked.breaks["the stream closed"] += 1
            except (aiohttp.ClientError, OSError, BrokenError) as error:
                self.asked.breaks[f"{type(error).__name__}: {error}"[:200]] += 1
                self.asked.locked += "idempotency_key_in_use" in str(error)
            if not self.asked.end:
                await asyncio.sleep(_AGAIN_SECONDS)
        self.asked.ended_at = asyncio.get_running_loop().time()
        self.asked.spoke.set()

    async def get(self, path: str) -> Any:
        """What a route answers. Raises BrokenError: not now."""
        async with self._session.get(f"{next(self._gateways)}/v1{path}") as answer:
            await _good(answer)
            return await answer.json()

    async def _streamed_run(self) -> None:
        asked = self.asked
        await self._need_thread()
        path = f"/threads/{asked.thread_id}/runs"
        if asked.forgotten:
            self._learn(await self.get(f"{path}/{asked.run_id}"))
        elif not asked.run_id:
            async with self._post(path, _run(stream=True), "run") as answer:
                await self._hear_run(answer)
        else:
            async with self._resume(f"{path}/{asked.run_id}") as answer:
                await self._hear_run(answer)

    async def _hear_run(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status == 410:
            self.asked.forgotten = True
            return
        await _good(answer)
        async for number, event, data in _events(answer):
            self._count(number)
            if event == "thread.message.delta":
                for part in json.loads(data)["delta"]["content"]:
                    self.asked.hear(part["text"]["value"])
            elif event.startswith("thread.run.") and event.count(".") == 2:
                self._learn(json.loads(data))
            elif event == "error":
                raise BrokenError(data)

    async def _polled_run(self) -> None:
        await self._need_thread()
        path = f"/threads/{self.asked.thread_id}/runs"
        if not self.asked.run_id:
            async with self._post(path, _run(stream=False), "run") as answer:
                await _good(answer)
                self._learn(await answer.json())
        self._learn(await self.get(f"{path}/{self.asked.run_id}"))

    async def _stored_chat(self) -> None:
        if not self.asked.chat_id:
            async with self._post("/chat/completions", self._chat(stream=True, store=True), "chat") as answer:
                await self._hear_chat(answer)
        else:
            async with self._resume(f"/chat/completions/{self.asked.chat_id}") as answer:
                if answer.status in (404, 410):
                    self.asked.forgotten, self.asked.end = True, "forgotten"
                    return
                await self._hear_chat(answer)

    async def _hear_chat(self, answer: aiohttp.ClientResponse) -> None:
        await _good(answer)
        async for number, _, data in _events(answer):
            if self.asked.kind == "stored chat":
                self._count(number)
            if data == "[DONE]":
                self.asked.end = self.asked.end or "completed"
            elif "error" in (chunk := json.loads(data)):
                if chunk["error"].get("code") in ("queue_unavailable", "stream_lost"):
                    raise BrokenError(data)
                self.asked.end, self.asked.error = "failed", json.dumps(chunk["error"])
            else:
                self.asked.chat_id = chunk["id"]
                for choice in chunk["choices"]:
                    self.asked.hear(choice["delta"].get("content") or "")

    async def _streamed_chat(self) -> None:
        self.asked.text = None  # what was heard of a stream that broke is void
        async with self._post("/chat/completions", self._chat(stream=True), "chat") as answer:
            await self._hear_chat(answer)

    async def _whole_chat(self) -> None:
        async with self._post("/chat/completions", self._chat(stream=False), "chat") as answer:
            await _good(answer)
            body = await answer.json()
        self.asked.hear(body["choices"][0]["message"]["content"])
        self.asked.end = "completed"

    async def _need_thread(self) -> None:
        if not self.asked.thread_id:
            messages = [{"role": "user", "content": self.asked.question}]
            # The oracle knows threads by their titles' first words.
            title = self.asked.question.replace(" ", "-")
            async with self._post("/threads", {"messages": messages, "title": title}, "thread") as answer:
                await _good(answer)
                self.asked.thread_id = (await answer.json())["id"]

    def _post(self, path: str, body: dict[str, Any], what: str) -> Any:
        key = f"{self.asked.question.replace(' ', '-')}-{what}"
        headers = {"Idempotency-Key": key, "X-Janroot-Event-Ids": "1"}
        return self._session.post(f"{next(self._gateways)}/v1{path}", json=body, headers=headers)

    def _resume(self, path: str) -> Any:
        query = {"stream": "true", "starting_after": str(self.asked.last)}
        return self._session.get(f"{next(self._gateways)}/v1{path}", params=query)

    def _chat(self, **fields: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": self.asked.question}]
        return {"model": MODEL, "messages": messages, "temperature": 0, **fields}

    def _count(self, number: int) -> None:
        """Every numbered event is the next one. Without a number are only words of the connection itself."""
        if number and number != self.asked.last + 1:
            self.asked.wrong.append(f"event {number} came behind {self.asked.last}")
        self.asked.last = number or self.asked.last

    def _learn(self, run: dict[str, Any]) -> None:
        self.asked.run_id = run["id"]
        if run["status"] in TERMINAL:
            self.asked.end = run["status"]
            self.asked.error = json.dumps(run["last_error"]) if run["last_error"] else ""


class BrokenError(Exception):
    """No answer yet; ask again."""


def _run(*, stream: bool) -> dict[str, Any]:
    return {"assistant_id": "jan", "model": MODEL, "temperature": 0, "stream": stream}


async def _good(answer: aiohttp.ClientResponse) -> None:
    if answer.status == 200:
        return
    said = f"{answer.status}: {(await answer.text())[:300]}"
    if answer.status in _LATER:
        raise BrokenError(said)
    raise RefusedError(said)


class RefusedError(Exception):
    """An answer that nobody should get here: it fails the round."""


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[int, str, str]]:
    """Number (0: none), name and data of each server-sent event."""
    number, event = 0, ""
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        elif line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield number, event, line.removeprefix("data: ")
            number, event = 0, ""
