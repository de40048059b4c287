"""A run that an admin has done once more: a new run with what the old one ran with (decision 0035)."""

from __future__ import annotations

from gateway.runs import derived_ids, states
from gateway.runs.creation import RUN_LIFETIME
from gateway.runs.steps import now
from gateway.services.storage import StorageClient
from jan.storage.v1 import runs_pb2


async def run_again(storage: StorageClient, thread_id: str, run_id: str) -> runs_pb2.Run:
    """Accept a run that repeats another, on its thread as that stands now; the same one however often it is asked for.

    Raises NotFoundError: the run or its thread is gone. FailedPreconditionError: a run is active on the thread.
    """
    run = await storage.get_run(thread_id, run_id)
    run.MergeFrom(runs_pb2.Run(id=derived_ids.repetition_id(run.id), status=states.QUEUED, round=1))
    run.ClearField("revision")
    # What tells of the old one's end.
    run.ClearField("started_at")
    run.ClearField("cancelled_at")
    run.ClearField("failed_at")
    run.ClearField("completed_at")
    run.ClearField("last_error")
    run.ClearField("incomplete_reason")
    run.ClearField("usage")
    run.ClearField("required_action_json")
    run.created_at.CopyFrom(now())
    run.expires_at.FromDatetime(run.created_at.ToDatetime() + RUN_LIFETIME)
    return await storage.create_run(runs_pb2.CreateRunRequest(run=run))
