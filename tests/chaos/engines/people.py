"""The people who ask while engines die: each asks one thing over HTTP, and keeps what was told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

TERMINAL: Final = frozenset({"completed", "failed", "incomplete", "cancelled", "expired"})
_POLL_SECONDS = 0.05


@dataclass(slots=True)
class Told:
    """What one of them was told. end: how it ended; "" when nothing said so. text: None where none was streamed."""

    kind: str
    model: str
    question: str
    end: str = ""
    error: str = ""
    text: str | None = None
    pieces: int = 0
    thread_id: str = ""
    run_id: str = ""
    spoke: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, piece: str) -> None:
        """A piece of the answer came."""
        self.text = (self.text or "") + piece
        self.pieces += bool(piece)
        if piece:
            self.spoke.set()


class Person:
    """Asks one thing of one model."""

    def __init__(self, session: aiohttp.ClientSession, url: str, told: Told) -> None:
        self.told = told
        self._session = session
        self._url = url + "/v1"

    async def ask(self) -> None:
        """Ask, and stay until the end."""
        try:
            await {
                "streamed chat": self._streamed_chat,
                "whole chat": self._whole_chat,
                "streamed run": self._streamed_run,
                "polled run": self._polled_run,
            }[self.told.kind]()
        except (aiohttp.ClientError, OSError) as error:
            self.told.error = repr(error)
        finally:
            self.told.spoke.set()

    @property
    def _limit(self) -> dict[str, int]:
        return {} if self.told.model == "scripted" else {"max_tokens": 256}

    async def _streamed_chat(self) -> None:
        async with self._post("/chat/completions", self._chat(stream=True)) as answer:
            if answer.status != 200:
                self._refused(await answer.json())
                return
            async for _, data in _events(answer):
                if data == "[DONE]":
                    self.told.end = "completed"
                elif "error" in (chunk := json.loads(data)):
                    self._refused(chunk)
                else:
                    for choice in chunk["choices"]:
                        self.told.hear(choice["delta"].get("content") or "")

    async def _whole_chat(self) -> None:
        async with self._post("/chat/completions", self._chat(stream=False)) as answer:
            body = await answer.json()
        if answer.status != 200:
            self._refused(body)
            return
        self.told.end = "completed"
        self.told.hear(body["choices"][0]["message"]["content"])

    async def _streamed_run(self) -> None:
        await self._new_thread()
        async with self._post(f"/threads/{self.told.thread_id}/runs", self._run(stream=True)) as answer:
            await _good(answer)
            async for event, data in _events(answer):
                if event == "thread.message.delta":
                    for part in json.loads(data)["delta"]["content"]:
                        self.told.hear(part["text"]["value"])
                elif event.startswith("thread.run."):
                    run = json.loads(data)
                    if event.count(".") == 2:
                        self._learn(run)

    async def _polled_run(self) -> None:
        await self._new_thread()
        async with self._post(f"/threads/{self.told.thread_id}/runs", self._run(stream=False)) as answer:
            await _good(answer)
            self._learn(await answer.json())
        while not self.told.end:
            await asyncio.sleep(_POLL_SECONDS)
            self._learn(await self.get(f"/threads/{self.told.thread_id}/runs/{self.told.run_id}"))

    async def get(self, path: str) -> Any:
        """What a route answers. Raises aiohttp.ClientError: it is no 200."""
        async with self._session.get(self._url + path) as answer:
            await _good(answer)
            return await answer.json()

    async def _new_thread(self) -> None:
        messages = [{"role": "user", "content": self.told.question}]
        async with self._post("/threads", {"messages": messages}) as answer:
            await _good(answer)
            self.told.thread_id = (await answer.json())["id"]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._session.post(self._url + path, json=body)

    def _chat(self, *, stream: bool) -> dict[str, Any]:
        messages = [{"role": "user", "content": self.told.question}]
        return {"model": self.told.model, "messages": messages, "temperature": 0, "stream": stream, **self._limit}

    def _run(self, *, stream: bool) -> dict[str, Any]:
        limit = {"max_completion_tokens": self._limit["max_tokens"]} if self._limit else {}
        return {"assistant_id": "jan", "model": self.told.model, "temperature": 0, "stream": stream, **limit}

    def _learn(self, run: dict[str, Any]) -> None:
        self.told.run_id = run["id"]
        if run["status"] in TERMINAL:
            self.told.end = run["status"]
            self.told.error = json.dumps(run["last_error"]) if run["last_error"] else ""

    def _refused(self, body: dict[str, Any]) -> None:
        self.told.end, self.told.error = "failed", json.dumps(body["error"])


async def _good(answer: aiohttp.ClientResponse) -> None:
    if answer.status != 200:
        raise aiohttp.ClientPayloadError(f"{answer.status}: {await answer.text()}")


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str]]:
    """The name and data of each server-sent event."""
    event = ""
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield event, line.removeprefix("data: ")
            event = ""
