"""Stopping a run on request."""

from __future__ import annotations

from gateway.convert.runs import status_name
from gateway.queueing.jobs import JobClient
from gateway.runs import derived_ids, states
from gateway.runs.waiting import end_waiting
from gateway.services.storage import StorageClient
from jan.errors import ConflictError, FailedPreconditionError
from jan.ids import RunId, ThreadId
from jan.storage.v1 import runs_pb2


async def cancel_run(storage: StorageClient, jobs: JobClient, thread_id: ThreadId, run_id: RunId) -> runs_pb2.Run:
    """Ask a run to stop; answers it as it is then. Raises NotFoundError. FailedPreconditionError: it has ended."""
    while True:
        run = await storage.get_run(thread_id, run_id)
        if run.status == states.CANCELLING:
            break
        if not states.may_become(run.status, states.CANCELLING):
            raise FailedPreconditionError(f"Cannot cancel run with status '{status_name(run.status)}'.")
        try:
            if run.status == states.REQUIRES_ACTION:  # nobody works on it
                return await end_waiting(storage, run, states.CANCELLED)
            run.status = states.CANCELLING
            run = await storage.update_run(run)
            break
        except ConflictError:
            continue  # it moved on meanwhile: it may have ended
    await jobs.cancel(derived_ids.job_id(run.id, run.round))
    return run
