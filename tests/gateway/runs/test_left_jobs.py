"""Jobs whose run is over end, also when the gateway died that would have cancelled them."""

from __future__ import annotations

import pytest

from gateway.keys import STORAGE
from gateway.runs import executor as executor_module
from gateway.runs import states
from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import new_thread, start
from tests.gateway.runs.test_executor import freeze, seen_by_executor


@pytest.fixture(autouse=True)
def quick_reconciler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)


@pytest.mark.parametrize("end", ["failed", "deleted"])
async def test_the_job_of_a_run_that_is_over_ends_though_its_gateway_died_before_it_cancelled_it(
    gateway: Gateway, worker: ScriptedWorker, end: str
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    job = await worker.take()
    await job.begin()
    await seen_by_executor(gateway, run["id"], status="in_progress")
    freeze(gateway)
    if end == "failed":
        storage = gateway.app[STORAGE]
        record = await storage.get_run(thread_id, run["id"])
        record.status = states.FAILED
        await storage.update_run(record)
    else:
        await gateway.json("DELETE", f"/v1/threads/{thread_id}")
    await job.until_cancelled()
