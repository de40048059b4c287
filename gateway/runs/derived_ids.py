"""Ids of what a run makes, derived from the run's own id.

A gateway that takes a run over makes the same job, step and message again, so each exists once however often the
work is repeated.
"""

from __future__ import annotations

import hashlib
import re

from jan.ids import CompletionId, Id, JobId, MessageId, RunId, StepId

# 96 bits, as many as a new id has.
_DIGITS = 24
_ITEM = re.compile(rf"(?:msg|fc|fs|rs)_[0-9a-f]{{{_DIGITS}}}_(.+)", re.ASCII)


def job_id(run_id: str, step: int) -> JobId:
    """The queue's entry for one step of a run: `<run id>.<step>`."""
    return JobId.parse(f"{run_id}.{step}")


def round_id(run_id: str, round_: int) -> str:
    """What a round is called where it is executed: its lease and its log. A run of one round goes by its own id."""
    return run_id if round_ <= 1 else f"{run_id}~{round_}"


def step_id(run_id: str, step: int, place: int = 0) -> StepId:
    """The step's own id; place: that of its message among those of this step of the run."""
    return StepId(_derived(StepId, run_id, _at(str(step), place)))


def calls_step_id(run_id: str, step: int) -> StepId:
    """The step of the calls that the same answer makes, which may hold a message too."""
    return StepId(_derived(StepId, run_id, f"{step}.calls"))


def search_step_id(run_id: str) -> StepId:
    """The step of the search in files before the first answer."""
    return StepId(_derived(StepId, run_id, "file_search"))


def search_call_id(run_id: str) -> str:
    """The call that this step tells of."""
    return f"call_{_digest(run_id, 'file_search.call')}"


def call_id(run_id: str, step: int, index: int) -> str:
    """A call of that step, for an engine that gave it no id of its own."""
    return f"call_{_digest(run_id, f'{step}.calls.{index}')}"


def unasked_call_id(message_id: str) -> str:
    """The call that an output without one is told with. message_id: that of the message which keeps it."""
    return f"call_{_digest(message_id, 'unasked')}"


def call_item_id(run_id: str, step: int, index: int, thread_id: str = "") -> MessageId:
    """The message that keeps a response's call. thread_id: see `_item`."""
    return _item(f"fc_{_digest(run_id, f'{step}.item.{index}')}", thread_id)


def search_item_id(run_id: str, thread_id: str = "") -> MessageId:
    """The message that keeps a response's search of files. See `_item`."""
    return _item(f"fs_{_digest(run_id, 'file_search.item')}", thread_id)


def reasoning_item_id(run_id: str, step: int, place: int = 0, thread_id: str = "") -> MessageId:
    """The message that keeps what a response's model thought; place: it may think several times. See `_item`."""
    return _item(f"rs_{_digest(run_id, _at(f'{step}.reasoning', place))}", thread_id)


def message_id(run_id: str, step: int, place: int = 0, thread_id: str = "") -> MessageId:
    """The message that the step writes; place: a response may be several. thread_id: of a response, see `_item`."""
    return _item(_derived(MessageId, run_id, _at(str(step), place)), thread_id)


def thread_of_item(item_id: str) -> str:
    """The thread that the id of a response's item names; empty where it names none."""
    named = _ITEM.fullmatch(item_id)
    return named[1] if named else ""


def completion_id(run_id: str, step: int) -> CompletionId:
    """The engine's answer behind the step."""
    return CompletionId(_derived(CompletionId, run_id, str(step)))


def repetition_id(run_id: str) -> RunId:
    """The run that does a failed one once more."""
    return RunId(_derived(RunId, run_id, "again"))


def _item(id_: str, thread_id: str) -> MessageId:
    """The id of what a response says tells where it stands, so that others may refer to it by that alone.

    A thread's name that is too long for that is left out.
    """
    told = f"{id_}_{thread_id}"
    return MessageId(told if thread_id and len(told) <= MessageId.max_length else id_)


def _at(what: str, place: int) -> str:
    """The first goes by what it is, as it did when there was one only."""
    return f"{what}+{place}" if place else what


def _derived(kind: type[Id], run_id: str, what: str) -> str:
    return f"{kind.prefix}{_digest(run_id, what)}"


def _digest(run_id: str, what: str) -> str:
    return hashlib.sha256(f"{run_id}.{what}".encode()).hexdigest()[:_DIGITS]
