"""Runs and steps: the last line for an id counts, one active run per thread, nothing written twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import ConflictError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.ids import AssistantId, MessageId, RunId, StepId, ThreadId
from storage_service.store.paging import PageQuery
from storage_service.store.records import (
    Failure,
    Message,
    Role,
    Run,
    RunStatus,
    RunStep,
    StepStatus,
    StepType,
    Thread,
    Usage,
)
from storage_service.store.store import Store
from tests.storage_service.conftest import BLANK

JAN = AssistantId("jan")
ALL = PageQuery(limit=100, descending=False)
NOW_MS = 1_704_504_640_000


def run(thread: Thread, name: str = "run_1", status: RunStatus = RunStatus.QUEUED) -> Run:
    return Run(RunId(name), thread.id, JAN, status, NOW_MS)


def step(of: Run, name: str = "step_1") -> RunStep:
    kind, status = StepType.MESSAGE_CREATION, StepStatus.IN_PROGRESS
    return RunStep(StepId(name), of.id, of.thread_id, JAN, kind, status, NOW_MS)


def end(store: Store, active: Run) -> Run:
    return store.runs.update(replace(active, status=RunStatus.COMPLETED, completed_ms=NOW_MS + 1))


def reopened(store: Store, janroot: Path) -> Store:
    store.close()
    return Store.open(janroot)


@pytest.fixture
def file(janroot: Path, thread: Thread) -> Path:
    return janroot / "threads" / thread.id / "runs.jsonl"


def test_every_field_of_a_run_and_a_step_comes_back(store: Store, janroot: Path, thread: Thread) -> None:
    full = Run(
        id=RunId("run_1"),
        thread_id=thread.id,
        assistant_id=JAN,
        status=RunStatus.FAILED,
        created_ms=NOW_MS,
        revision=1,
        expires_ms=NOW_MS + 600_000,
        started_ms=NOW_MS + 1,
        cancelled_ms=NOW_MS + 2,
        failed_ms=NOW_MS + 3,
        completed_ms=NOW_MS + 4,
        last_error=Failure("invalid_prompt", "It broke.", "tools[1].function.parameters"),
        incomplete_reason="max_completion_tokens",
        model="demo",
        instructions="Be brief.",
        tools=[{"type": "function"}],
        metadata={"k": "v"},
        usage=Usage(10, 20, 5),
        max_prompt_tokens=256,
        max_completion_tokens=512,
        truncation_strategy={"type": "auto"},
        tool_choice="auto",
        response_format={"type": "text"},
        parallel_tool_calls=False,
        temperature=0.5,
        top_p=0.9,
        reasoning_effort="low",
        tenant="ada",
        priority="batch",
        round=3,
        required_action={"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": []}},
    )
    done = replace(
        step(full),
        type=StepType.TOOL_CALLS,
        status=StepStatus.COMPLETED,
        completed_ms=NOW_MS + 1,
        failed_ms=NOW_MS + 2,
        cancelled_ms=NOW_MS + 3,
        expired_ms=NOW_MS + 4,
        last_error=Failure("server_error", "x"),
        step_details={"type": "tool_calls", "tool_calls": []},
        usage=Usage(1, 2),
        metadata={"s": "t"},
    )
    store.runs.create(full)
    store.runs.put_step(done)
    again = reopened(store, janroot)
    assert again.runs.get(thread.id, full.id) == full
    assert again.runs.get_step(thread.id, full.id, done.id) == done
    again.close()


def test_one_active_run_per_thread(store: Store, thread: Thread) -> None:
    first = store.runs.create(run(thread))
    with pytest.raises(FailedPreconditionError) as refused:
        store.runs.create(run(thread, "run_2"))
    assert str(refused.value) == f"Thread {thread.id} already has an active run run_1."
    end(store, first)
    store.runs.create(run(thread, "run_2"))
    assert [item.id for item in store.runs.page(thread.id, PageQuery()).items] == ["run_2", "run_1"]


def test_the_same_id_again_answers_the_stored_run(store: Store, thread: Thread) -> None:
    first = store.runs.create(run(thread))
    assert store.runs.create(replace(run(thread), model="other")) == first


def test_messages_come_with_the_run_or_not_at_all(store: Store, thread: Thread) -> None:
    extra = Message(MessageId("m1"), thread.id, Role.USER, [])
    store.create_run(run(thread), [extra])
    with pytest.raises(FailedPreconditionError):
        store.create_run(run(thread, "run_2"), [replace(extra, id=MessageId("m2"))])
    store.create_run(run(thread), [extra])
    assert [item.id for item in store.messages.page(thread.id, ALL).items] == ["m1"]


def test_a_write_names_the_revision_it_read(store: Store, thread: Thread) -> None:
    first = store.runs.create(run(thread))
    assert first.revision == 1
    second = store.runs.update(replace(first, status=RunStatus.IN_PROGRESS))
    assert second.revision == 2
    with pytest.raises(ConflictError):
        store.runs.update(replace(first, status=RunStatus.CANCELLING))
    assert store.runs.get(thread.id, first.id) == second


def test_an_ended_run_stays_ended_and_takes_metadata(store: Store, thread: Thread) -> None:
    ended = end(store, store.runs.create(run(thread)))
    with pytest.raises(FailedPreconditionError, match="has ended: it is completed"):
        store.runs.update(replace(ended, status=RunStatus.IN_PROGRESS))
    assert store.runs.update(replace(ended, metadata={"k": "v"})).metadata == {"k": "v"}


def test_active_runs_of_all_threads_are_known_after_a_restart(store: Store, janroot: Path, thread: Thread) -> None:
    other = store.threads.create(JAN, BLANK)
    store.runs.create(run(thread))
    end(store, store.runs.create(run(other, "run_2")))
    store.runs.create(replace(run(other, "run_3"), created_ms=NOW_MS - 1))
    assert [item.id for item in store.runs.all_active()] == ["run_3", "run_1"]
    again = reopened(store, janroot)
    assert [item.id for item in again.runs.all_active()] == ["run_3", "run_1"]
    again.delete_thread(other.id)
    (janroot / "threads" / thread.id / "runs.jsonl").unlink()
    assert again.runs.all_active() == []
    again.close()


def test_a_step_is_written_once_per_change_and_for_its_own_run(store: Store, thread: Thread, file: Path) -> None:
    active = store.runs.create(run(thread))
    store.runs.put_step(step(active))
    store.runs.put_step(step(active))
    assert len(file.read_text().splitlines()) == 2
    store.runs.put_step(replace(step(active), status=StepStatus.COMPLETED))
    assert store.runs.get_step(thread.id, active.id, StepId("step_1")).status is StepStatus.COMPLETED
    end(store, active)
    other = store.runs.create(run(thread, "run_2"))
    with pytest.raises(InvalidArgumentError, match="belongs to run run_1"):
        store.runs.put_step(step(other))
    with pytest.raises(NotFoundError):
        store.runs.get_step(thread.id, other.id, StepId("step_1"))
    with pytest.raises(NotFoundError):
        store.runs.put_step(step(run(thread, "run_9"), "step_9"))
    assert [item.id for item in store.runs.page_steps(thread.id, active.id, ALL).items] == ["step_1"]
    assert store.runs.page_steps(thread.id, other.id, ALL).items == ()


def test_an_ended_step_stays_ended_and_takes_metadata(store: Store, thread: Thread, file: Path) -> None:
    active = store.runs.create(run(thread))
    begun = store.runs.put_step(step(active))
    ended = store.runs.put_step(replace(begun, status=StepStatus.COMPLETED, completed_ms=NOW_MS + 1))
    lines = file.read_text()
    assert store.runs.put_step(begun) == ended
    assert store.runs.put_step(replace(begun, status=StepStatus.FAILED, failed_ms=NOW_MS + 2)) == ended
    assert store.runs.put_step(replace(ended, completed_ms=NOW_MS + 9)) == ended
    assert file.read_text() == lines
    named = store.runs.put_step(replace(ended, metadata={"k": "v"}))
    assert named == replace(ended, metadata={"k": "v"})
    assert store.runs.get_step(thread.id, active.id, ended.id) == named


def test_history_is_written_off_and_nothing_else(store: Store, janroot: Path, thread: Thread, file: Path) -> None:
    file.write_text('{"object":"thread.run","id":"no status"}\nnot json\n')
    active = store.runs.create(run(thread))
    file.write_text(file.read_text().replace('"tenant"', '"unknown_key":"kept","tenant"'))
    for _ in range(200):
        active = store.runs.update(active)
    store.runs.put_step(step(active))
    lines = file.read_text().splitlines()
    assert len(lines) < 100
    assert lines[:2] == ['{"object":"thread.run","id":"no status"}', "not json"]
    assert json.loads(lines[2])["unknown_key"] == "kept"
    again = reopened(store, janroot)
    assert again.runs.get(thread.id, active.id) == active
    assert again.runs.get_step(thread.id, active.id, StepId("step_1")) == step(active)
    again.close()


def test_a_torn_record_leaves_the_one_before_it(store: Store, janroot: Path, thread: Thread, file: Path) -> None:
    first = store.runs.create(run(thread))
    second = store.runs.update(replace(first, status=RunStatus.IN_PROGRESS))
    whole = file.read_bytes()
    again = reopened(store, janroot)
    start = whole.index(b"\n") + 1
    for cut in range(start, len(whole) - 1):
        file.write_bytes(whole[:cut])
        assert again.runs.get(thread.id, first.id) == first
    assert again.runs.update(replace(first, status=RunStatus.IN_PROGRESS)) == second
    assert file.read_bytes() == whole
    again.close()


def test_unknown_things_are_told_apart(store: Store, thread: Thread) -> None:
    with pytest.raises(NotFoundError, match="No thread found"):
        store.runs.create(run(replace(thread, id=ThreadId("jan_1"))))
    with pytest.raises(NotFoundError, match="No run found with id 'run_1'"):
        store.runs.get(thread.id, RunId("run_1"))


def test_steps_are_written_with_their_run_whether_or_not_they_had_ended(
    store: Store, janroot: Path, thread: Thread, file: Path
) -> None:
    waiting = store.runs.create(run(thread))
    store.runs.put_step(replace(step(waiting), status=StepStatus.COMPLETED, step_details={"of": "a crash"}))
    done = replace(step(waiting), status=StepStatus.COMPLETED, step_details={"of": "the second try"})
    before = len(file.read_text().splitlines())
    queued = store.runs.update(replace(waiting, round=2), [done])
    names = [json.loads(line)["object"] for line in file.read_text().splitlines()[before:]]
    assert names == ["thread.run.step", "thread.run"]  # a crash in between leaves no run that lacks its outputs
    again = reopened(store, janroot)
    assert again.runs.get(thread.id, waiting.id) == queued
    assert again.runs.get_step(thread.id, waiting.id, done.id) == done


def test_a_refused_update_writes_none_of_its_steps(store: Store, thread: Thread, file: Path) -> None:
    first = end(store, store.runs.create(run(thread)))
    store.runs.put_step(step(first))
    second = store.runs.create(run(thread, "run_2"))
    before = file.read_text()
    with pytest.raises(InvalidArgumentError):
        store.runs.update(second, [step(second, "step_2"), step(first)])
    with pytest.raises(InvalidArgumentError):
        store.runs.update(second, [replace(step(first), run_id=second.id)])
    with pytest.raises(ConflictError):
        store.runs.update(replace(second, revision=7), [step(second, "step_2")])
    assert file.read_text() == before


def test_what_is_left_over_of_a_waiting_run_ends_with_its_steps(store: Store, janroot: Path, thread: Thread) -> None:
    waiting = store.runs.create(replace(run(thread), status=RunStatus.REQUIRES_ACTION, required_action={"type": "x"}))
    store.runs.put_step(step(waiting))
    store.runs.put_step(replace(step(waiting, "step_2"), status=StepStatus.COMPLETED))
    store.runs.end_left_over(thread.id, NOW_MS)
    again = reopened(store, janroot)
    ended = again.runs.get(thread.id, waiting.id)
    assert (ended.status, ended.required_action) == (RunStatus.CANCELLED, None)
    steps = again.runs.page_steps(thread.id, waiting.id, ALL).items
    assert [left.status for left in steps] == [StepStatus.CANCELLED, StepStatus.COMPLETED]
