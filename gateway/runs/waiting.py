"""Runs that wait for tool outputs: taking the outputs in, and ending the wait without them.

Nobody executes a run that waits: it is its record in storage, so every process may be restarted meanwhile. What ends
the wait is one write of the run and its step, which happens once, by the run's revision.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.convert.json_fields import to_text
from gateway.convert.runs import status_name
from gateway.runs import derived_ids, states
from gateway.runs.calls import calls_of
from gateway.runs.steps import StepStatus, call_details, end_step, now
from gateway.schemas.runs import ToolOutput
from gateway.services.storage import StorageClient
from jan.errors import ConflictError, FailedPreconditionError, InvalidArgumentError
from jan.ids import RunId, ThreadId
from jan.storage.v1 import runs_pb2

_ENDS: dict[states.Status, StepStatus] = {
    states.CANCELLED: runs_pb2.RUN_STEP_STATUS_CANCELLED,
    states.EXPIRED: runs_pb2.RUN_STEP_STATUS_EXPIRED,
}


async def take_outputs(
    storage: StorageClient,
    thread_id: ThreadId,
    run_id: RunId,
    outputs: Sequence[ToolOutput],
    *,
    may_be_repeated: bool = False,
) -> tuple[runs_pb2.Run, int]:
    """Store the outputs of a run's calls and begin its next round; answers the run, and which round that is.

    may_be_repeated: they may have been stored by an earlier sending of the same request, which then counts.
    Raises NotFoundError. FailedPreconditionError: the run does not wait for outputs. InvalidArgumentError: these are
    not exactly those that it waits for; nothing was changed.
    """
    while True:
        run = await storage.get_run(thread_id, run_id)
        try:
            step = await _filled_step(storage, run, outputs)
        except (FailedPreconditionError, InvalidArgumentError):
            if may_be_repeated and await _are_stored(storage, run, outputs):
                return run, run.round
            raise
        try:
            begun = await storage.update_run(_next_round(run), [step])
            return begun, begun.round
        except ConflictError:
            may_be_repeated = True  # it may have been our own write, whose answer was lost


async def end_waiting(storage: StorageClient, run: runs_pb2.Run, status: states.Status) -> runs_pb2.Run:
    """End a run that waits for outputs as cancelled or expired. Raises ConflictError: it has moved on."""
    step = await _waiting_step(storage, run)
    end_step(step, _ENDS[status])
    ended = _changed(run, status)
    if status == states.CANCELLED:
        ended.cancelled_at.CopyFrom(now())
    return await storage.update_run(ended, [step])


async def _waiting_step(storage: StorageClient, run: runs_pb2.Run, *, back: int = 0) -> runs_pb2.RunStep:
    step_id = derived_ids.calls_step_id(run.id, run.round - back)
    return await storage.get_run_step(run.thread_id, run.id, step_id)


async def _filled_step(storage: StorageClient, run: runs_pb2.Run, outputs: Sequence[ToolOutput]) -> runs_pb2.RunStep:
    """The step that a run waits for, completed. Raises as `take_outputs` does: each call needs an output, no other."""
    if run.status != states.REQUIRES_ACTION:
        raise FailedPreconditionError(f'Runs in status "{status_name(run.status)}" do not accept tool outputs.')
    step = await _waiting_step(storage, run)
    calls = calls_of(step)
    wanted, given = [call["id"] for call in calls], [output.tool_call_id for output in outputs]
    if sorted(wanted) != sorted(given):
        raise InvalidArgumentError(
            f"Expected tool outputs for call_ids {wanted}, got {[id_[:64] for id_ in given]}", param="tool_outputs"
        )
    by_id = {output.tool_call_id: output.output or "" for output in outputs}
    filled = [{**call, "function": {**call["function"], "output": by_id[call["id"]]}} for call in calls]
    step.step_details_json = to_text(call_details(filled))
    end_step(step, runs_pb2.RUN_STEP_STATUS_COMPLETED)
    return step


def _next_round(run: runs_pb2.Run) -> runs_pb2.Run:
    queued = _changed(run, states.QUEUED)
    queued.round += 1
    return queued


def _changed(run: runs_pb2.Run, status: states.Status) -> runs_pb2.Run:
    changed = runs_pb2.Run()
    changed.CopyFrom(run)
    changed.status = status
    changed.required_action_json = ""
    return changed


async def _are_stored(storage: StorageClient, run: runs_pb2.Run, outputs: Sequence[ToolOutput]) -> bool:
    """Whether the present round began with just these outputs."""
    if run.round == 1:
        return False
    calls = calls_of(await _waiting_step(storage, run, back=1))
    stored = sorted((call["id"], call["function"]["output"]) for call in calls)
    return stored == sorted((output.tool_call_id, output.output or "") for output in outputs)
