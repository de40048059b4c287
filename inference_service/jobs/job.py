"""The life of a job in a worker's hands, as a table. Pure: `relay.py` does what the states say."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from jan.queue.jobs import MAX_LOST_WORKERS


class JobState(StrEnum):
    """Where a taken job is; the last six end this worker's part in it."""

    TAKEN = "taken"
    """It waits for its model."""
    ASKED = "asked"
    """The engine works on it, but nothing was published yet."""
    SPEAKING = "speaking"
    """A part of the answer was published and cannot be unsaid."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    """Handed back: it will run again, and go on from what was said."""
    PASSED_ON = "passed on"
    """Given back for another host, because this one cannot serve it."""
    ABANDONED = "abandoned"
    """Somebody else holds its lease; nothing more may be said."""


class Happening(StrEnum):
    """What can happen to a job."""

    ASKED = "asked"
    SPOKE = "spoke"
    FINISHED = "finished"
    REFUSED = "refused"
    """By its model, its engine, or an error of ours: trying again would not help."""
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    ENGINE_LOST = "engine lost"
    """The engine broke off; the request is not known to be the reason."""
    ENGINE_DIED = "engine died"
    """The engine ended while it worked on the request: the queue counts that, since the request may be the reason."""
    DRAINED = "drained"
    """This worker stops and cannot wait any longer."""
    NOT_HERE = "not here"
    """This host cannot load its model; another may."""
    LEASE_LOST = "lease lost"


_OPEN: Final = (JobState.TAKEN, JobState.ASKED, JobState.SPEAKING)

_ENDS: Final = {
    Happening.FINISHED: JobState.COMPLETED,
    Happening.REFUSED: JobState.FAILED,
    Happening.TIMED_OUT: JobState.FAILED,
    Happening.CANCELLED: JobState.CANCELLED,
    Happening.LEASE_LOST: JobState.ABANDONED,
}

TRANSITIONS: Final[dict[tuple[JobState, Happening], JobState]] = {
    **{(state, happening): end for state in _OPEN for happening, end in _ENDS.items()},
    (JobState.TAKEN, Happening.ASKED): JobState.ASKED,
    (JobState.ASKED, Happening.SPOKE): JobState.SPEAKING,
    (JobState.SPEAKING, Happening.SPOKE): JobState.SPEAKING,
    # Nothing sent yet: the job runs again. Text already sent: the next attempt goes on from there if it can.
    (JobState.TAKEN, Happening.ENGINE_LOST): JobState.RELEASED,
    (JobState.ASKED, Happening.ENGINE_LOST): JobState.RELEASED,
    (JobState.SPEAKING, Happening.ENGINE_LOST): JobState.RELEASED,
    (JobState.TAKEN, Happening.ENGINE_DIED): JobState.RELEASED,
    (JobState.ASKED, Happening.ENGINE_DIED): JobState.RELEASED,
    (JobState.SPEAKING, Happening.ENGINE_DIED): JobState.RELEASED,
    (JobState.TAKEN, Happening.NOT_HERE): JobState.PASSED_ON,
    (JobState.ASKED, Happening.NOT_HERE): JobState.FAILED,
    (JobState.SPEAKING, Happening.NOT_HERE): JobState.FAILED,
    (JobState.TAKEN, Happening.DRAINED): JobState.RELEASED,
    (JobState.ASKED, Happening.DRAINED): JobState.RELEASED,
    (JobState.SPEAKING, Happening.DRAINED): JobState.RELEASED,
}


def next_state(state: JobState, happening: Happening, *, attempt: int, continuable: bool) -> JobState:
    """The state after something happened on the job's `attempt` (from 1).

    A job that lost its engine on its last attempt fails instead of going round again; one whose engines die under it is
    counted by the queue. One that has said a part of an answer that nobody else can go on with fails too.
    Raises KeyError: the happening makes no sense in this state.
    """
    following = TRANSITIONS[state, happening]
    if following is JobState.RELEASED and happening is Happening.ENGINE_LOST and attempt >= MAX_LOST_WORKERS:
        return JobState.FAILED
    if following is JobState.RELEASED and state is JobState.SPEAKING and not continuable:
        return JobState.FAILED
    return following
