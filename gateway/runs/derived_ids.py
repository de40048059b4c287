"""Ids of what a run makes, derived from the run's own id.

A gateway that takes a run over makes the same job, step and message again, so each exists once however often the
work is repeated.
"""

from __future__ import annotations

import hashlib

from jan.ids import CompletionId, Id, JobId, MessageId, StepId

# 96 bits, as many as a new id has.
_DIGITS = 24


def job_id(run_id: str, step: int) -> JobId:
    """The queue's entry for one step of a run: `<run id>.<step>`."""
    return JobId.parse(f"{run_id}.{step}")


def step_id(run_id: str, step: int) -> StepId:
    """The step's own id."""
    return StepId(_derived(StepId, run_id, step))


def message_id(run_id: str, step: int) -> MessageId:
    """The message that the step writes."""
    return MessageId(_derived(MessageId, run_id, step))


def completion_id(run_id: str, step: int) -> CompletionId:
    """The engine's answer behind the step."""
    return CompletionId(_derived(CompletionId, run_id, step))


def _derived(kind: type[Id], run_id: str, step: int) -> str:
    digest = hashlib.sha256(f"{run_id}.{step}".encode()).hexdigest()
    return f"{kind.prefix}{digest[:_DIGITS]}"
