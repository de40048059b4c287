"""What must hold after every kill, looked at through HTTP, Redis and the process table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from jan import keys
from jan.queue.leases import LeaseKind
from tests.chaos.engines.killing import Engines
from tests.chaos.engines.people import Person, Told
from tests.chaos.engines.scripted_vllm import MODEL, answer_to
from tests.chaos.oracle import Finding

TERMINAL = "everybody is told an end"
SAME = "what was streamed is what is stored"
ONCE = "no message is there twice"
CONTIGUOUS = "an answer is one whole, without gap or repeat"
ANSWERED = "one kill costs nobody an answer that can be gone on with"
ORPHANS = "no engine outlives its service or its guard"
LEFT = "no job is left in Redis"
_PATIENCE_SECONDS = 15.0


async def of_person(person: Person) -> list[Finding]:
    """Whether one of them was told an end, and the truth."""
    told = person.told
    findings: list[Finding] = []
    if not told.end:
        findings.append(Finding(TERMINAL, str(told)))
    if told.model == MODEL:
        findings += _of_scripted(told, told.text)
    if told.run_id:
        page = await person.get(f"/threads/{told.thread_id}/messages?order=asc")
        findings += _of_thread(told, page["data"])
        run = await person.get(f"/threads/{told.thread_id}/runs/{told.run_id}")
        if run["status"] != told.end:
            findings.append(Finding(TERMINAL, f"{told}, but the run is {run['status']}"))
    return findings


def _of_thread(told: Told, messages: Sequence[dict[str, Any]]) -> list[Finding]:
    findings: list[Finding] = []
    roles = [message["role"] for message in messages]
    if roles[:1] != ["user"] or roles[1:] not in ([], ["assistant"]) or len({m["id"] for m in messages}) < len(roles):
        findings.append(Finding(ONCE, f"{told}: {roles}"))
    answers = [message for message in messages if message["role"] == "assistant"]
    stored = "".join(part["text"]["value"] for message in answers for part in message["content"])
    if told.kind == "streamed run" and stored != (told.text or ""):
        findings.append(Finding(SAME, f"{told}: stored {stored!r}"))
    if told.model == MODEL and told.kind == "polled run":
        findings += _of_scripted(told, stored)
    return findings


def _of_scripted(told: Told, text: str | None) -> list[Finding]:
    """The words are known; a broken answer is their beginning."""
    whole = answer_to(told.question)
    is_right = text == whole if told.end == "completed" and text is not None else whole.startswith(text or "")
    return [] if is_right else [Finding(CONTIGUOUS, f"{told}: {text!r} of {whole!r}")]


def of_ends(asked: Sequence[Told]) -> list[Finding]:
    """Whether everybody whose words are known got all of them: their engine can always go on."""
    return [Finding(ANSWERED, str(told)) for told in asked if told.model == MODEL and told.end != "completed"]


async def of_redis(redis: Redis) -> list[Finding]:
    """Whether nothing waits and nothing is in anybody's hands, once all were told an end."""

    async def left() -> str:
        held = await redis.hgetall(keys.leases(LeaseKind.JOB))
        queued = await redis.zrange(keys.QUEUED_MODELS, 0, -1)
        running = await redis.zrange(keys.RUNNING, 0, -1)
        waiting = int(await redis.get(keys.WAITING) or 0)
        return f"{held} {queued} {running} {waiting}" if held or queued or running or waiting else ""

    return [Finding(LEFT, found) for found in await in_the_end(left)]


async def of_processes(engines: Engines) -> list[Finding]:
    """Whether every engine belongs to the service."""

    async def orphans() -> str:
        return "; ".join(await asyncio.to_thread(engines.orphans))

    return [Finding(ORPHANS, found) for found in await in_the_end(orphans)]


async def in_the_end(look: Callable[[], Any]) -> list[str]:
    """What is found at every look for a while; nothing once a look finds nothing."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _PATIENCE_SECONDS
    while found := await look():
        if loop.time() > until:
            return [found]
        await asyncio.sleep(0.05)
    return []
