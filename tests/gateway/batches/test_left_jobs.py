"""Jobs whose batch is over end, also when the gateway died that would have cancelled them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from gateway.batches import executor as executor_module
from gateway.keys import BATCHES
from jan.storage.v1 import batches_pb2
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.batches.batch_files import line, lines, new_batch

ASKED = {"model": MODEL_ID, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(autouse=True)
def quick_reconciler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)


async def of_openai(gateway: Gateway) -> str:
    """A batch of one request; its id."""
    return str((await new_batch(gateway, lines([line("a")])))["id"])


async def of_anthropic(gateway: Gateway) -> str:
    """The same, as Anthropic's clients make it."""
    requests = [{"custom_id": "a", "params": ASKED}]
    return str((await gateway.json("POST", "/v1/messages/batches", {"requests": requests}))["id"])


@pytest.mark.parametrize("make", [of_openai, of_anthropic])
async def test_the_job_of_a_batch_that_is_over_ends_though_its_gateway_died_before_it_cancelled_it(
    gateway: Gateway, worker: ScriptedWorker, make: Callable[[Gateway], Awaitable[str]]
) -> None:
    batch_id = await make(gateway)
    job = await worker.take()
    await job.begin()
    freeze(gateway)
    for status in (batches_pb2.BATCH_STATUS_CANCELLING, batches_pb2.BATCH_STATUS_CANCELLED):
        await gateway.app[BATCHES].client.move(batches_pb2.MoveBatchRequest(batch_id=batch_id, status=status))
    await job.until_cancelled()


def freeze(gateway: Gateway) -> None:
    """Stop a gateway's executor as a SIGSTOP would: its tasks neither work nor renew nor let go."""
    holdings = gateway.app[BATCHES]._holdings
    for held in holdings._held.values():
        held.task.cancel()
    holdings._held.clear()
