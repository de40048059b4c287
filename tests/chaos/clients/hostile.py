"""Clients that mean no good. Each function sends so many at once, and returns what they saw that must not be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import aiohttp
import psutil

from tests.chaos.engines.scripted_vllm import answer_to
from tests.chaos.oracle import Finding
from tests.chaos.queue.engine import MODEL
from tests.fixtures.stack import Stack

DROPPED = "a reader that never reads is dropped"
RESUMED = "a reader that was dropped gets the rest when it comes back"
CUT = "who sends a byte at a time is let go at the deadline"
# Words so long that an answer is three times what a reader may leave unread.
WORD, WORDS = "x" * 4096, 800
RESUME = 5
BYTE_SECONDS = 0.5
# The gateway's own deadlines are 15 s for a head, 30 s for a body or a piece that is not read.
GIVEN_UP_SECONDS = 75.0
_OPEN = psutil.CONN_ESTABLISHED


async def never_read(stack: Stack, count: int) -> list[Finding]:
    """Ask for long answers and read nothing; a few come back afterwards for the rest."""
    readers = [await ask_long(stack.url, number) for number in range(count)]
    try:
        dropped = await _until_dropped(stack.processes["gateway"].pid, readers)
        said = [await _left_for(reader) if reader in dropped else None for reader in readers]
    finally:
        for reader in readers:
            reader.close()
    findings = [Finding(DROPPED, f"reader {number}") for number, heard in enumerate(said) if heard is None]
    for number, heard in list(enumerate(said))[:RESUME]:
        findings += await _comes_back(stack.url, number, heard or b"")
    return findings


async def ask_long(url: str, number: int, *, kernel_bytes: int = 4096) -> socket.socket:
    """Ask for a long answer, of which nothing is read yet. kernel_bytes: how much the kernel takes unread."""
    address = urlsplit(url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kernel_bytes)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, (address.hostname, address.port))
    body = json.dumps(
        {
            "model": MODEL,
            "stream": True,
            "store": number < RESUME,
            "messages": [{"role": "user", "content": f"{number}{WORD} {WORDS}"}],
        }
    )
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.hostname}\r\nContent-Type: application/json\r\n"
    ids = "X-Janroot-Event-Ids: 1\r\n" if number < RESUME else ""
    await loop.sock_sendall(client, f"{head}{ids}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return client


async def _until_dropped(gateway: int, readers: Sequence[socket.socket]) -> set[socket.socket]:
    """Read nothing until the gateway has let go of all of them, or for a long time; those that it let go of.

    The gateway's own list of connections is asked: its end of one that nobody reads lives on in the kernel for a while,
    and the reader hears nothing of it.
    """
    by_port = {reader.getsockname()[1]: reader for reader in readers}
    until = time.monotonic() + GIVEN_UP_SECONDS
    held = set(by_port)
    while held and time.monotonic() < until:
        await asyncio.sleep(0.5)
        connections = await asyncio.to_thread(psutil.Process(gateway).net_connections, "tcp")
        held = by_port.keys() & {connection.raddr.port for connection in connections if connection.status == _OPEN}
    return {reader for port, reader in by_port.items() if port not in held}


async def _left_for(reader: socket.socket) -> bytes:
    """What had come before it was dropped."""
    said = b""
    with contextlib.suppress(OSError, TimeoutError):
        while data := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(reader, 1 << 16), 2):
            said += data
    return said


async def _comes_back(url: str, number: int, heard: bytes) -> list[Finding]:
    """Take the stream up behind the last whole event that came; both parts are the whole answer."""
    events = list(_events(_unchunked(heard)))
    if not events:
        return [Finding(RESUMED, f"reader {number} heard nothing")]
    chat_id, last = json.loads(events[0][1])["id"], events[-1][0]
    query = {"stream": "true", "starting_after": str(last)}
    path = f"/v1/chat/completions/{chat_id}"
    async with aiohttp.ClientSession(url) as client, client.get(path, params=query) as answer:
        if answer.status != 200:
            return [Finding(RESUMED, f"reader {number}: {answer.status} {await answer.text()}")]
        rest = list(_events(await answer.read()))
    numbers = [of for of, _ in [*events, *rest]]
    whole = "".join(map(_said, [*events, *rest])) == answer_to(f"{number}{WORD} {WORDS}")
    if not whole or numbers != list(range(1, len(numbers) + 1)) or rest[-1][1] != "[DONE]":
        return [Finding(RESUMED, f"reader {number}: {len(events)} and {len(rest)} events, whole: {whole}")]
    return []


def _unchunked(answer: bytes) -> bytes:
    """The body of a chunked answer, as far as it came."""
    said, body = answer.partition(b"\r\n\r\n")[2], b""
    while said:
        size, _, said = said.partition(b"\r\n")
        length = int(size, 16)
        body += said[:length]
        said = said[length + 2 :]
    return body


def _events(body: bytes) -> Iterator[tuple[int, str]]:
    """Number and data of each whole event. What ends a reader's stream early has no number, and is none."""
    for block in body.decode(errors="replace").split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "id" in fields:
            yield int(fields["id"]), fields["data"]


def _said(event: tuple[int, str]) -> str:
    if event[1] == "[DONE]":
        return ""
    return "".join(choice["delta"].get("content") or "" for choice in json.loads(event[1])["choices"])


async def drip_heads(stack: Stack, count: int) -> list[Finding]:
    """Half of them on a connection that served a request before."""
    served = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"GET /v1/models HTTP/1.1\r\nX: " + b"x" * 4096
    return await _drip(stack.url, [(served if number % 2 else b"", head) for number in range(count)])


async def drip_bodies(stack: Stack, count: int) -> list[Finding]:
    """A chat whose head says how long it is, and which never is that long in time."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = json.dumps({"model": "x" * 4096}).encode()
    return await _drip(stack.url, [(head + b"Content-Length: %d\r\n\r\n" % len(body), body)] * count)


async def _drip(url: str, clients: Sequence[tuple[bytes, bytes]]) -> list[Finding]:
    ended = await asyncio.gather(*(_drip_one(url, before, dripped) for before, dripped in clients))
    return [Finding(CUT, f"client {number}") for number, is_cut in enumerate(ended) if not is_cut]


async def _drip_one(url: str, before: bytes, dripped: bytes) -> bool:
    """Whether the gateway closed before all was sent."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    heard = asyncio.create_task(_until_closed(reader), name="drip")
    try:
        with contextlib.suppress(OSError):
            writer.write(before)
            for byte in dripped[: int(GIVEN_UP_SECONDS / BYTE_SECONDS)]:
                writer.write(bytes([byte]))
                if (await asyncio.wait({heard}, timeout=BYTE_SECONDS))[0]:
                    break
        return heard.done()
    finally:
        heard.cancel()
        writer.transport.abort()


async def _until_closed(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass
