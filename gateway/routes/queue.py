"""/v1/queue: who stands where; take a job out of it; dead letters."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from aiohttp import web

from gateway.http.body import json_response
from gateway.http.guard import is_admin
from gateway.http.paging import list_envelope, read_limit
from gateway.keys import CHATS, KEEPER, QUEUE, RUNS, SETTINGS, STORAGE
from gateway.queueing.priority import name_of
from gateway.queueing.tenant import tenant_of
from gateway.runs import states
from gateway.runs.again import run_again
from gateway.runs.derived_ids import job_id
from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, PermissionDeniedError
from jan.queue.jobs import CancelOutcome
from jan.queue.records import JobRecord

routes = web.RouteTableDef()

MAX_LIMIT = 1000


@routes.get("/v1/queue")
async def list_queue(request: web.Request) -> web.Response:
    """The caller's jobs that run or wait, in the order of their turns; everybody's for an admin."""
    tenant = _own(request)
    snapshot = await request.app[QUEUE].look(most_age_seconds=0)
    running = await request.app[QUEUE].records([job.id for job in snapshot.running])
    ids = [record.id for record in running if tenant in ("", record.tenant)]
    ids += [job.id for job in snapshot.waiting if tenant in ("", job.tenant)]
    page, has_more = _page(request, ids)
    data = []
    for record in await request.app[QUEUE].records(page):
        place = snapshot.by_id.get(record.id)
        eta = place.eta_seconds if place is not None else None
        waits = place is not None and record.state == "queued"
        held_up = place.wait if place is not None and waits else record.wait
        data.append(
            _job(record, shows_tenant=not tenant)
            | {
                "position": place.position if place is not None and waits else None,
                "eta_seconds": math.ceil(eta) if eta is not None and waits else None,
                "progress": held_up.progress if held_up is not None else None,
                "activity": (held_up.activity or None) if held_up is not None else None,
            }
        )
    return json_response(list_envelope(data, has_more=has_more))


@routes.delete("/v1/queue/{job_id}")
async def cancel_job(request: web.Request) -> web.Response:
    """Cancel a job of the caller's, or anybody's for an admin; 404 for what is not theirs, 400 when it has ended."""
    job_id = request.match_info["job_id"]
    match await request.app[QUEUE].cancel(job_id, tenant=_own(request)):
        case CancelOutcome.UNKNOWN:
            raise NotFoundError(f"No job found with id {job_id[:64]!a}.")
        case CancelOutcome.ENDED:
            raise FailedPreconditionError("The job has ended.", code="job_ended")
        case outcome:
            return json_response({"id": job_id, "object": "queue.job.deleted", "deleted": True, "state": str(outcome)})


@routes.get("/v1/queue/dead")
async def list_dead_letters(request: web.Request) -> web.Response:
    """Jobs that were given up after they lost three workers, the latest first; for admins."""
    _check_admin(request)
    page, has_more = _page(request, await request.app[QUEUE].dead_letters())
    records = await request.app[QUEUE].records(page)
    data = [_job(record, shows_tenant=True) | {"failures": record.failures} for record in records]
    return json_response(list_envelope(data, has_more=has_more))


@routes.post("/v1/queue/dead/{job_id}/requeue")
async def requeue_dead_letter(request: web.Request) -> web.Response:
    """Give a dead letter another chance; for admins. 404 when it is none.

    A run has ended for its clients, and stays so: another one is begun in its place, on the same thread. 400 while one
    is active there, and for what nobody waits for any more: all but streamed chats that are to be stored.
    """
    _check_admin(request)
    job_id = request.match_info["job_id"]
    queue = request.app[QUEUE]
    known = await queue.records([job_id])
    if not known or known[0].state != "dead":
        raise NotFoundError(f"No dead letter found with id {job_id[:64]!a}.")
    if known[0].kind == "run":
        return json_response(await _run_again(request, known[0]))
    if await request.app[CHATS].kept(job_id) is None:
        raise _nobody_waits(known[0])
    await queue.requeue(job_id)
    await request.app[KEEPER].take_up(job_id)
    [record] = await queue.records([job_id])
    return json_response(_job(record, shows_tenant=True))


def _nobody_waits(dead: JobRecord) -> FailedPreconditionError:
    return FailedPreconditionError(
        f"Nobody waits for the answer of {dead.id} any more, and it was not to be stored: done again, it would only "
        "take the model's time. Whoever asked must send the request again.",
        code="no_reader",
    )


async def _run_again(request: web.Request, dead: JobRecord) -> dict[str, Any]:
    """Begin another run in the place of a dead one; what is answered is its job."""
    asked = await request.app[QUEUE].asked(dead.id)
    if asked is None or not asked.thread_id:
        raise NotFoundError("The run of this dead letter is not known any more.", code="run_unknown")
    run = await run_again(request.app[STORAGE], asked.thread_id, dead.id.partition(".")[0])
    if run.status in states.ACTIVE:  # else it was begun before, and the dead letter could not be forgotten
        await request.app[RUNS].start(run)
    await request.app[QUEUE].forget_dead(dead.id)
    job = replace(
        dead, id=job_id(run.id, 1), state="queued", enqueued_ms=run.created_at.ToMilliseconds(), started_ms=None
    )
    return _job(job, shows_tenant=True) | {"run_id": run.id, "thread_id": run.thread_id}


def _own(request: web.Request) -> str:
    """Whose jobs the caller may see: his own, or everybody's, which is the empty name."""
    return "" if is_admin(request.app[SETTINGS], request) else tenant_of(request, request.query.get("user"))


def _check_admin(request: web.Request) -> None:
    if not is_admin(request.app[SETTINGS], request):
        raise PermissionDeniedError("Dead letters are for admins.")


def _page(request: web.Request, ids: list[str]) -> tuple[list[str], bool]:
    """The ids behind `after`, `limit` of them, and whether there are more."""
    limit = read_limit(request.query.get("limit"), 100, MAX_LIMIT)
    after = request.query.get("after")
    if after and after not in ids:
        raise InvalidArgumentError("'after' names no job of this list; begin anew.", param="after")
    start = ids.index(after) + 1 if after else 0
    return ids[start : start + limit], start + limit < len(ids)


def _job(record: JobRecord, *, shows_tenant: bool) -> dict[str, Any]:
    job: dict[str, Any] = {
        "id": record.id,
        "object": "queue.job",
        "kind": record.kind,
        "model": record.model_id,
        "class": name_of(record.priority),
        "state": record.state,
        "enqueued_at": record.enqueued_ms // 1000,
        "started_at": record.started_ms // 1000 if record.started_ms is not None else None,
    }
    return job | {"tenant": record.tenant} if shows_tenant else job
