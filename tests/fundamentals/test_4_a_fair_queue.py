"""The queue: whoever asks much stands behind himself, not in front of others."""

from __future__ import annotations

from jan.inference.v1 import jobs_pb2
from jan.queue.jobs import JobQueue


def job(id_: str, tenant: str) -> jobs_pb2.Job:
    return jobs_pb2.Job(id=id_, tenant=tenant, cost_tokens=100, model=jobs_pb2.ModelSpec(id="a-model"))


async def test_a_single_question_overtakes_a_script(queue: JobQueue) -> None:
    # Ann's script sends ten jobs, and a worker takes the first. Then Bob asks one question.
    for number in range(10):
        await queue.submit(job(f"script-{number}", tenant="ann"))
    await queue.take()
    await queue.submit(job("question", tenant="bob"))

    # Each tenant has a virtual time, which every job that is taken moves on by its cost. The first job started at 0, so
    # Ann's next one starts at 100, but Bob's at 0, the queue's own time: he is next, and Ann's nine others follow.
    following = await queue.take()
    assert following is not None
    assert following.job.id == "question"

    # A job has one id for ever: sending it again, as a client library does after a lost reply, changes nothing.
    assert not await queue.submit(job("question", tenant="bob"))
