"""A run's life cycle as a table (OpenAI's Assistants v2)."""

from __future__ import annotations

from typing import TypeAlias

from jan.storage.v1 import runs_pb2

Status: TypeAlias = runs_pb2.RunStatus.ValueType

QUEUED = runs_pb2.RUN_STATUS_QUEUED
IN_PROGRESS = runs_pb2.RUN_STATUS_IN_PROGRESS
REQUIRES_ACTION = runs_pb2.RUN_STATUS_REQUIRES_ACTION
CANCELLING = runs_pb2.RUN_STATUS_CANCELLING
CANCELLED = runs_pb2.RUN_STATUS_CANCELLED
FAILED = runs_pb2.RUN_STATUS_FAILED
COMPLETED = runs_pb2.RUN_STATUS_COMPLETED
INCOMPLETE = runs_pb2.RUN_STATUS_INCOMPLETE
EXPIRED = runs_pb2.RUN_STATUS_EXPIRED

ACTIVE = frozenset({QUEUED, IN_PROGRESS, REQUIRES_ACTION, CANCELLING})
TERMINAL = frozenset({CANCELLED, FAILED, COMPLETED, INCOMPLETE, EXPIRED})

TRANSITIONS: dict[Status, frozenset[Status]] = {
    # Incomplete when earlier rounds left no tokens for this one.
    QUEUED: frozenset({IN_PROGRESS, CANCELLING, CANCELLED, EXPIRED, FAILED, INCOMPLETE}),
    # Cancelled without `cancelling` when its job was taken off the queue rather than the run stopped.
    IN_PROGRESS: frozenset({REQUIRES_ACTION, CANCELLING, CANCELLED, COMPLETED, INCOMPLETE, FAILED, EXPIRED}),
    REQUIRES_ACTION: frozenset({QUEUED, CANCELLING, CANCELLED, EXPIRED}),
    # The answer may have been whole before the wish to stop arrived.
    CANCELLING: frozenset({CANCELLED, COMPLETED, INCOMPLETE, FAILED, EXPIRED}),
} | dict.fromkeys(TERMINAL, frozenset())


CONTEXT_LENGTH = "context_length_exceeded"
"""The code that a run keeps for an input that its model has no room for. OpenAI's runs have no word for it."""

REFUSALS = (CONTEXT_LENGTH, "unsupported_schema", "schema_too_complex")
"""What engines refuse before they write anything; a run keeps these codes, and tells them as `invalid_prompt`."""


def may_become(old: Status, new: Status) -> bool:
    """Whether a run may go from one status to another in one step."""
    return new in TRANSITIONS[old]


def is_over(run: runs_pb2.Run, round_: int) -> bool:
    """Whether nobody works on that round of a run any more."""
    return run.round != round_ or run.status == REQUIRES_ACTION or run.status in TERMINAL


def is_response(run: runs_pb2.Run) -> bool:
    """Whether it was asked for as a response: it never waits for outputs, which come with the next one."""
    return bool(run.response_json)
