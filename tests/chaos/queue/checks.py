"""What must hold after every fault, once all is back; seen through HTTP, Redis and the engine's own count."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from jan import keys
from jan.queue.leases import LeaseKind
from tests.chaos.engines.checks import CONTIGUOUS, LEFT, ONCE, SAME, TERMINAL, in_the_end
from tests.chaos.engines.checks import of_redis as of_jobs
from tests.chaos.engines.people import TERMINAL as ENDS
from tests.chaos.engines.scripted_vllm import answer_to
from tests.chaos.oracle import Finding
from tests.chaos.queue.engine import KnownEngine
from tests.chaos.queue.faults import Fault
from tests.chaos.queue.people import Asked, Person

GAPS = "every event is told once, in order"
COMPLETED = "one fault costs nobody an answer that can be gone on with"
LOCKED = "a key is locked for as long as its answer takes, or as a dead gateway is not known to be gone"
SLOTS = "no slot of the engine is held for nobody"
IMMORTAL = "what is left in Redis has a time to live"


async def of_person(person: Person, fault: Fault) -> list[Finding]:
    """Whether one of them was told the truth, once."""
    asked = person.asked
    findings = [Finding(GAPS, f"{asked}: {wrong}") for wrong in asked.wrong]
    findings += _of_text(asked)
    if asked.was_locked_out(by_the_dead=fault.breaks_gateway):
        findings.append(Finding(LOCKED, str(asked)))
    if asked.end != "completed" and not _may_fail(asked, fault):
        findings.append(Finding(COMPLETED, str(asked)))
    if asked.run_id:
        path = f"/threads/{asked.thread_id}"
        runs = (await person.get(f"{path}/runs"))["data"]
        messages = (await person.get(f"{path}/messages?order=asc"))["data"]
        findings += _of_runs(asked, runs) + _of_thread(asked, runs, messages)
    return findings


def _may_fail(asked: Asked, fault: Fault) -> bool:
    """A chat lives in Redis alone: what Redis forgot is told as lost, and the client sends it again.

    One that was to be kept on a disk without room is told so.
    """
    if fault.harm == "full disk" and asked.kind == "stored chat":
        return "storage_full" in asked.error
    return fault.forgets and asked.kind not in ("streamed run", "polled run") and asked.end in ("failed", "forgotten")


def _of_text(asked: Asked) -> list[Finding]:
    whole = answer_to(asked.question)
    said = asked.text or ""
    heard_all = asked.end == "completed" and asked.kind != "polled run" and not asked.forgotten
    return (
        []
        if said == whole or (whole.startswith(said) and not heard_all)
        else [Finding(CONTIGUOUS, f"{asked}: {said!r} of {whole!r}")]
    )


def _of_runs(asked: Asked, runs: list[dict[str, Any]]) -> list[Finding]:
    """One run, ended: what a killed gateway had begun is not begun again under its key."""
    findings = [Finding(TERMINAL, f"{asked}: {run['id']} {run['status']}") for run in runs if run["status"] not in ENDS]
    if asked.run_id not in {run["id"] for run in runs}:
        findings.append(Finding(TERMINAL, f"{asked}: its run is not there"))
    if len(runs) > 1:
        findings.append(Finding(ONCE, f"{asked}: {len(runs)} runs"))
    return findings


def _of_thread(asked: Asked, runs: list[dict[str, Any]], messages: list[dict[str, Any]]) -> list[Finding]:
    """The question once, and behind it one message for each run: whole if it completed, else a beginning."""
    findings: list[Finding] = []
    if [message["role"] for message in messages].count("user") != 1 or messages[0]["role"] != "user":
        findings.append(Finding(ONCE, f"{asked}: {[message['role'] for message in messages]}"))
    whole = answer_to(asked.question)
    for run in runs:
        answers = [message for message in messages if message["run_id"] == run["id"]]
        if len(answers) > 1 or (run["status"] == "completed" and not answers):
            findings.append(Finding(ONCE, f"{asked}: {len(answers)} answers of {run['id']}"))
        for answer in answers:
            said = "".join(part["text"]["value"] for part in answer["content"])
            if said != whole and not (run["status"] != "completed" and whole.startswith(said)):
                findings.append(Finding(SAME, f"{asked}: stored {said!r} of {whole!r}"))
    return findings


async def of_redis(redis: Redis) -> list[Finding]:
    """Whether nothing waits, nothing is in anybody's hands, and all that is kept ends by itself."""

    async def left() -> str:
        lines = [key async for key in redis.scan_iter(f"{keys.PREFIX}queue:jobs:*")]
        runs = await redis.hgetall(keys.leases(LeaseKind.RUN))
        return f"{lines} {runs}" if lines or runs else ""

    async def immortal() -> str:
        found = [key async for key in redis.scan_iter(f"{keys.PREFIX}*") if await redis.ttl(key) == -1]
        return str(found) if found else ""

    findings = await of_jobs(redis)
    findings += [Finding(LEFT, found) for found in await in_the_end(left)]
    return findings + [Finding(IMMORTAL, found) for found in await in_the_end(immortal)]


async def of_engine(engine: KnownEngine) -> list[Finding]:
    """Whether every slot is free."""

    async def held() -> str:
        return f"{engine.active} answers are being written" if engine.active else ""

    return [Finding(SLOTS, found) for found in await in_the_end(held)]
