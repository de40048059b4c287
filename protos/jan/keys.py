"""Every Redis key, its fields, its life time and its bound.

Redis is never the only home of something acknowledged, so every key may vanish. Each is bounded and expires after a
day without use; a key left behind without a time to live is a defect (a test looks for them).
"""

from __future__ import annotations

PREFIX = "jan:"

# A day: longer than anything waits, short enough that nothing piles up.
IDLE_TTL_SECONDS = 24 * 60 * 60
# How long an ended job or run can still be followed from its log.
ENDED_TTL_SECONDS = 10 * 60
# The most events that one log keeps; a token an event, this is longer than any context here.
LOG_MAX_EVENTS = 65_536
# The most signals kept for workers that look up late; they check the queue itself after a pause anyway.
BELL_MAX_SIGNALS = 1_024

QUEUED_MODELS = f"{PREFIX}queue:models"
"""Sorted set: `<class>:<model id>` of every queue that holds a job, scored by class: the most urgent first."""

WAITING = f"{PREFIX}queue:waiting"
"""Hash: how many jobs wait, field `all`, and how many of each tenant, fields `t:<tenant>`."""

BELL = f"{PREFIX}bell"
"""Stream of signals to workers: field `submitted`, `released` or `cancelled` with a job id."""


def job(job_id: str) -> str:
    """Hash of a job: payload queue class tenant start score state attempt holder failures events generation cancelled.

    The payload goes when the job has ended.
    """
    return f"{PREFIX}job:{job_id}"


def log(log_id: str) -> str:
    """Stream of a job's or run's numbered events: entry `<n>-0`, fields `g` generation, `p` payload, `e` if last."""
    return f"{PREFIX}log:{log_id}"


def queue(name: str) -> str:
    """Sorted set: jobs waiting in one queue (`<class>:<model id>`), scored by virtual finish time."""
    return f"{PREFIX}queue:jobs:{name}"


def virtual_times(name: str) -> str:
    """Hash of one queue's clock: field `now`, and the last finish of each tenant as `t:<tenant>`."""
    return f"{PREFIX}queue:times:{name}"


def run(run_id: str) -> str:
    """Hash of a run's execution: attempt, holder, events, generation, state; the run itself is storage's."""
    return f"{PREFIX}run:{run_id}"


def leases(kind: str) -> str:
    """Hash of what is being worked on: id to `<token>:<renewals>`. Kinds: `jobs`, `runs`."""
    return f"{PREFIX}leases:{kind}"


def poke(follower_id: str) -> str:
    """Stream that wakes one process's log reader when it gains a log to follow."""
    return f"{PREFIX}poke:{follower_id}"
