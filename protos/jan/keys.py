"""Every Redis key, its fields, its life time and its bound.

Redis is never the only home of something acknowledged, so every key may vanish. Each is bounded and expires after a
day without use; a key left behind without a time to live is a defect (a test looks for them).
"""

from __future__ import annotations

PREFIX = "jan:"

# A day: longer than anything waits, short enough that nothing piles up.
IDLE_TTL_SECONDS = 24 * 60 * 60
# A key in steady use is kept anew once in this time, not at each step; it lives so much longer than a day.
KEPT_SECONDS = 60 * 60
# A log's life is counted anew after so many events.
KEPT_EVENTS = 64
# How long an ended job or run can still be followed from its log.
ENDED_TTL_SECONDS = 10 * 60
# How long a take is remembered, for a worker that asks again because the reply was lost.
TAKEN_TTL_SECONDS = 60
# How long a request that is being answered keeps its `Idempotency-Key` if its gateway dies.
ANSWERING_TTL_SECONDS = 60
# The longest answer that is kept for a repetition of its request.
RECORDED_MAX_BYTES = 1_048_576
# What all recorded answers of one holder may take, and those of everybody; the oldest give way.
RECORDED_OF_HOLDER_MAX_BYTES = 67_108_864
RECORDED_IN_ALL_MAX_BYTES = 268_435_456
# The most events that one log keeps; a token an event, this is longer than any context here.
LOG_MAX_EVENTS = 65_536
# The most signals kept for workers that look up late; they check the queue itself after a pause anyway.
BELL_MAX_SIGNALS = 1_024

# How long a dead letter waits for an admin, and how many do; the oldest give way.
DEAD_TTL_SECONDS = 7 * 24 * 60 * 60
DEAD_MAX_JOBS = 1_000
# How long the jobs of a class are passed over before the next one counts as urgent as an interactive one.
NORMAL_AGES_SECONDS = 10
BATCH_AGES_SECONDS = 60
# How long a job is left to a host that has its model already, before one without loads it too.
ELSEWHERE_SECONDS = 2
# What the time that jobs take remembers at each job's end of those before: about twenty jobs.
PACE_MEMORY = 0.95

QUEUED_MODELS = f"{PREFIX}queue:models"
"""Sorted set: `<class>:<model id>` of every queue that holds a job, by when its next job began to be passed over."""

WAITING = f"{PREFIX}queue:waiting"
"""Number: how many jobs wait in all."""

SEQUENCE = f"{PREFIX}queue:sequence"
"""Number: how many jobs were enqueued; the order of arrival."""

SLEEPERS = f"{PREFIX}queue:sleepers"
"""String: there while a worker that found nothing to take has not been told of a job since."""

RUNNING = f"{PREFIX}queue:running"
"""Sorted set: `<job id> <model id>` of every job in a worker's hands, by when it was taken."""

DEAD = f"{PREFIX}queue:dead"
"""Sorted set: ids of jobs that lost their worker too often, by when they were given up."""

RECORDED_NAMES = f"{PREFIX}recorded-names"
"""Sorted set: the names of all recorded answers, by when they were recorded."""

RECORDED_BYTES = f"{PREFIX}recorded-bytes"
"""Hash: the size of each recorded answer by its name; `of <holder>` the sum of one holder's, `all` that of all."""

HOSTS = f"{PREFIX}hosts"
"""Hash: each engine host that takes jobs, with what it told last: its beats, and the models that it has."""

BELL = f"{PREFIX}bell"
"""Stream of signals to workers: field `submitted`, `released` or `cancelled` with a job id."""


def job(job_id: str) -> str:
    """Hash of a job.

    Fields: payload kind queue tenant cost weight sequence place enqueued started since state attempt holder failures
    events generation retold cancelled not_here waits used. The payload goes when the job has ended.
    """
    return f"{PREFIX}job:{job_id}"


def log(log_id: str) -> str:
    """Stream of a job's or run's numbered events: entry `<n>-0`, fields `g` generation, `p` payload, `e` if last.

    The first entry of another writer has `b` besides, the generation of the entry before.
    """
    return f"{PREFIX}log:{log_id}"


def line(name: str, tenant: str) -> str:
    """Sorted set: one tenant's jobs in one queue (`<class>:<model id>`), `<charge> <job id>` by order of arrival."""
    return f"{PREFIX}queue:jobs:{name}:{tenant}"


def tenants(name: str) -> str:
    """Sorted set: the tenants with jobs in one queue, by the virtual time at which the next job starts."""
    return f"{PREFIX}queue:tenants:{name}"


def virtual_times(name: str) -> str:
    """Sorted set: one queue's virtual `now`, and as `t:<tenant>` that of tenants without jobs who are ahead of it."""
    return f"{PREFIX}queue:times:{name}"


def taken(token: str) -> str:
    """String: the job that was taken under this token, for as long as the take may be repeated."""
    return f"{PREFIX}taken:{token}"


def pace(model_id: str) -> str:
    """Hash: how long a model's jobs take: `ms` for `jobs` of them, of `tokens` in cost; the latest count most."""
    return f"{PREFIX}queue:pace:{model_id}"


def run(run_id: str) -> str:
    """Hash of a run's execution: attempt, holder, events, generation, state; the run itself is storage's."""
    return f"{PREFIX}run:{run_id}"


def leases(kind: str) -> str:
    """Hash of what is being worked on: id to `<token>:<renewals>`. Kinds: `jobs`, `runs`, `gateways`."""
    return f"{PREFIX}leases:{kind}"


def poke(follower_id: str) -> str:
    """Stream that wakes one process's log reader when it gains a log to follow."""
    return f"{PREFIX}poke:{follower_id}"


def recorded(name: str) -> str:
    """String: the answer to a request with an `Idempotency-Key`, or that it is being answered.

    A name is `<holder>.<digest>`.
    """
    return f"{PREFIX}recorded:{name}"


def recorded_names(holder: str) -> str:
    """Sorted set: the names of one holder's recorded answers, by when they were recorded."""
    return f"{RECORDED_NAMES}:{holder}"


def chat(completion_id: str) -> str:
    """String: whose chat this is that can be taken up again, as the digest of a key; empty for a chat without one."""
    return f"{PREFIX}chat:{completion_id}"


def chat_kept(completion_id: str) -> str:
    """String: what is to be stored of this chat's request, as JSON, until its answer is whole and stored with it."""
    return f"{PREFIX}chat-kept:{completion_id}"
