"""The queue's scripts on a real Redis against a plain model: any steps in any order, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from jan import keys
from jan.errors import ResourceExhaustedError
from jan.inference.v1 import jobs_pb2
from jan.queue.bounds import QueueBounds, Weights
from jan.queue.jobs import JobQueue, TakenJob
from jan.queue.leases import LeaseKind, LeaseState, StalledLease, renew
from jan.queue.log import LogWriter
from jan.queue.look import look
from jan.queue.waits import Wait, WaitKind, tell_wait
from jan.redis import connect
from tests.fixtures.redis import RedisServer
from tests.jan.queue.model import QueueModel
from tests.jan.queue.virtual import VirtualTime

Result = TypeVar("Result")

TENANTS = ("ann", "bob", "key:c:d e")
MODELS = ("m", "vendor/n: x")
HOSTS = ("here", "there")
# Most jobs meet in one queue, where the interesting things happen.
OFTEN_ONE_MODEL = ("m", "m", "m", "vendor/n: x")
OFTEN_ONE_CLASS = (2, 2, 2, 2, 1, 3)
WEIGHTS = Weights({"bob": 3.0}, default=1.0)
LOADING = Wait(WaitKind.LOADING)
BOUNDS = QueueBounds(of_tenant=4, in_all=8)


class QueueMachine(RuleBasedStateMachine):
    """Each rule does the same to both, and the invariants compare them."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._redis = connect(url)
        self._do(self._redis.flushall())
        self._time = VirtualTime(self._redis)
        self._queue = JobQueue(self._redis, self._time.scripts, WEIGHTS)
        self._model = QueueModel()
        self._taken: dict[str, TakenJob] = {}
        self._tokens: list[TakenJob] = []
        self._hosts = {"here"}
        self._do(self._redis.hset(keys.HOSTS, "here", "{}"))

    def _do(self, step: Awaitable[Result]) -> Result:
        async def awaited() -> Result:
            return await step

        return self._runner.run(awaited())

    def _ask(self, *command: str | int) -> Any:
        return self._do(self._redis.execute_command(*command))  # type: ignore[no-untyped-call]

    def teardown(self) -> None:
        self._do(self._redis.aclose())
        self._runner.close()

    @rule(
        tenant=st.sampled_from(TENANTS),
        model=st.sampled_from(OFTEN_ONE_MODEL),
        priority=st.sampled_from(OFTEN_ONE_CLASS),
        cost=st.sampled_from((1, 7, 100, 5000)),
    )
    def submit(self, tenant: str, model: str, priority: jobs_pb2.Priority.ValueType, cost: int) -> None:
        job = jobs_pb2.Job(
            id=f"j{len(self._model.jobs)}",
            tenant=tenant,
            model=jobs_pb2.ModelSpec(id=model),
            priority=priority,
            cost_tokens=cost,
            prompt_tokens=cost // 2,
        )
        if self._model.waiting(tenant) >= 4 or self._model.waiting() >= 8:
            with pytest.raises(ResourceExhaustedError) as refused:
                self._do(self._queue.submit_within(job, BOUNDS))
            assert (refused.value.code == "queue_full") == (self._model.waiting(tenant) < 4)
            return
        room = self._do(self._queue.submit_within(job, BOUNDS))
        assert room is not None
        assert self._do(self._queue.submit_within(job, BOUNDS)) is None  # as after a lost reply
        self._model.submit(job.id, f"{priority}:{model}", tenant, cost, WEIGHTS.of(tenant), prompt=cost // 2)
        assert room.remaining == min(4 - self._model.waiting(tenant), 8 - self._model.waiting())
        assert room.limit in (4, 8)

    @rule(
        full=st.sets(st.sampled_from(MODELS), max_size=1),
        elsewhere=st.sets(st.sampled_from(MODELS), max_size=1),
        in_hand=st.sets(st.sampled_from(MODELS)),
    )
    def take(self, full: set[str], elsewhere: set[str], in_hand: set[str]) -> None:
        expected = self._model.take(full, elsewhere, in_hand)
        taken = self._do(self._queue.take(full, elsewhere, in_hand))
        if expected is None:
            assert taken is None
            return
        assert taken is not None
        assert (taken.job.id, taken.lease.attempt) == (expected.id, expected.attempt)
        assert taken.failures == expected.failures
        self._taken[taken.job.id] = taken
        self._tokens.append(taken)

    @precondition(lambda self: self._taken)
    @rule(data=st.data(), events=st.integers(1, 3))
    def say(self, data: st.DataObject, events: int) -> None:
        taken = self._taken[data.draw(st.sampled_from([*self._taken]))]
        job = self._model.jobs[taken.job.id]
        writer = LogWriter(self._time.scripts, taken.lease, published=job.events)
        self._do(writer.publish([b"said"] * events))
        job.events += events

    @precondition(lambda self: self._taken)
    @rule(data=st.data(), spent=st.one_of(st.none(), st.integers(0, 9000)), is_whole=st.booleans())
    def finish(self, data: st.DataObject, spent: int | None, is_whole: bool) -> None:
        taken = self._pick(data)
        job = self._model.jobs[taken.job.id]
        for _ in range(2):  # the second as after a lost reply
            writer = LogWriter(self._time.scripts, taken.lease, published=job.events)
            self._do(writer.publish([b"end"], ends=True, spent_tokens=spent, is_whole=is_whole))
        self._model.finish(job, spent)

    @rule(host=st.sampled_from(HOSTS))
    def host_comes_or_goes(self, host: str) -> None:
        if host in self._hosts:
            self._do(self._redis.hdel(keys.HOSTS, host))
        else:
            self._do(self._redis.hset(keys.HOSTS, host, "{}"))
        self._hosts ^= {host}

    @precondition(lambda self: self._taken)
    @rule(data=st.data(), host=st.sampled_from(HOSTS))
    def pass_on(self, data: st.DataObject, host: str) -> None:
        taken = self._taken[data.draw(st.sampled_from([*self._taken]))]
        job = self._model.jobs[taken.job.id]
        expected = self._model.pass_on(job, host, self._hosts)
        reasons = self._do(self._queue.pass_on(taken, host, f"{host} has no room"))
        assert reasons == ([] if expected else sorted(f"{name} has no room" for name in job.not_here))
        if expected:
            del self._taken[job.id]

    @precondition(lambda self: self._taken)
    @rule(
        data=st.data(),
        how=st.sampled_from(("handed back", "broken off", "engine lost", "worker lost")),
        spent=st.sampled_from((0, 3, 9000)),
    )
    def release(self, data: st.DataObject, how: str, spent: int) -> None:
        taken = self._pick(data)
        job = self._model.jobs[taken.job.id]
        expected = self._model.release(
            job,
            lost=how in ("engine lost", "worker lost"),
            tried=how != "handed back",
            spent=None if how == "worker lost" else spent,
        )
        if how in ("handed back", "broken off"):
            give_back = self._queue.hand_back if how == "handed back" else self._queue.try_again
            self._do(give_back(taken, spent_tokens=spent))
            return
        if how == "engine lost":
            assert self._do(self._queue.lose_engine(taken, spent_tokens=spent)) == expected
            return
        seen = self._ask("HGET", keys.leases("jobs"), taken.job.id)
        assert self._do(self._queue.reclaim(StalledLease(taken.job.id, seen.decode()))) == expected

    @rule(data=st.data(), tenant=st.sampled_from(("", *TENANTS)))
    def cancel(self, data: st.DataObject, tenant: str) -> None:
        id_ = data.draw(st.sampled_from([*self._model.jobs, "nobody"]))
        assert self._do(self._queue.cancel(id_, tenant=tenant)) == self._model.cancel(id_, tenant)

    @rule()
    def cancel_before_it_comes(self) -> None:
        """Of a submit whose reply was lost, the cancel may come first: the job never waits then, and never runs."""
        job = jobs_pb2.Job(id=f"j{len(self._model.jobs)}", tenant="ann", model=jobs_pb2.ModelSpec(id="m"))
        assert self._do(self._queue.cancel(job.id)) == "unknown"  # leaves nothing behind
        assert self._do(self._queue.cancel(job.id, may_come=True)) == "unknown"
        self._model.forbid(job.id)
        assert self._do(self._queue.cancel(job.id, may_come=True)) == "ended"
        assert not self._do(self._queue.submit(job))

    @precondition(lambda self: self._model.jobs)
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        job = self._model.jobs[data.draw(st.sampled_from([*self._model.jobs]))]
        assert self._do(self._queue.requeue(job.id)) == self._model.requeue(job)

    @precondition(lambda self: self._tokens)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        """Only the last holder of a job that still runs holds it, whoever asks."""
        taken = data.draw(st.sampled_from(self._tokens))
        job = self._model.jobs[taken.job.id]
        if job.state != "running" or self._taken[job.id] is not taken:
            expected = LeaseState.LOST
        else:
            expected = LeaseState.CANCELLED if job.cancelled else LeaseState.HELD
        assert self._do(renew(self._time.scripts, LeaseKind.JOB, [taken.lease])) == [expected]

    @precondition(lambda self: self._tokens)
    @rule(data=st.data(), waits=st.booleans())
    def wait(self, data: st.DataObject, waits: bool) -> None:
        """A holder that lost its job tells nothing of it."""
        taken = data.draw(st.sampled_from(self._tokens))
        job = self._model.jobs[taken.job.id]
        if self._taken.get(job.id) is taken:
            self._model.wait(job, waits=waits)
        self._do(tell_wait(self._time.scripts, taken.lease, LOADING if waits else None))

    @rule(seconds=st.sampled_from((0.5, 9, 60, 3600, -3600)))
    def time_passes(self, seconds: float) -> None:
        self._model.now_ms += int(seconds * 1000)
        self._do(self._time.be(self._model.now_ms))

    def _pick(self, data: st.DataObject) -> TakenJob:
        return self._taken.pop(data.draw(st.sampled_from([*self._taken])))

    @invariant()
    def the_same_jobs_wait_in_the_same_order(self) -> None:
        snapshot = self._do(look(self._time.scripts))
        order = self._model.order()
        seen: dict[str, list[str]] = {}
        for job in snapshot.waiting:
            seen.setdefault(job.model_id, []).append(job.id)
            assert job.position == len(seen[job.model_id])
        assert seen == order
        assert int(self._ask("GET", keys.WAITING) or 0) == self._model.waiting()

    @invariant()
    def the_same_jobs_run_and_are_dead(self) -> None:
        states: dict[str, set[str]] = {"running": set(), "dead": set()}
        for job in self._model.jobs.values():
            states.setdefault(job.state, set()).add(job.id)
        snapshot = self._do(look(self._time.scripts))
        assert {job.id for job in snapshot.running} == states["running"]
        assert set(snapshot.held) == {job.id for job in self._model.jobs.values() if job.waits}
        for id_ in states["running"]:
            assert int(self._ask("HGET", keys.job(id_), "started")) == self._model.jobs[id_].started
        dead = self._ask("ZRANGE", keys.DEAD, 0, -1)
        assert {id_.decode() for id_ in dead} == states["dead"]


@pytest.mark.slow
def test_the_scripts_do_what_the_model_does(redis_server: RedisServer) -> None:
    class Machine(QueueMachine):
        def __init__(self) -> None:
            super().__init__(redis_server.url)

    run_state_machine_as_test(Machine, settings=settings(max_examples=100, stateful_step_count=60, deadline=None))
