"""Deleting, clearing, cloning and undoing over HTTP, with runs under way."""

from __future__ import annotations

from typing import Any

from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import Api, ask, refusal, upload
from tests.gateway.routes.test_runs import parse_events, start


async def new_thread(api: Api, title: str = "Trip") -> str:
    body = {"title": title, "messages": [{"role": "user", "content": "Hi"}]}
    return str((await ask(api, "POST", "/v1/threads", body))["id"])


async def threads(api: Api) -> list[str]:
    return [thread["id"] for thread in (await ask(api, "GET", "/v1/threads", order="asc"))["data"]]


async def trash(api: Api) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = (await ask(api, "GET", "/v1/trash"))["data"]
    return data


async def test_a_deletion_can_be_undone(api: Api) -> None:
    first, second = await new_thread(api, "One"), await new_thread(api, "Two")
    await ask(api, "DELETE", f"/v1/threads/{first}")
    [entry] = await trash(api)
    assert entry["object"] == "trash.entry"
    assert (entry["kind"], entry["count"], entry["items"]) == ("thread", 1, [{"id": first, "title": "One"}])
    assert entry["expires_at"] - entry["deleted_at"] == 30 * 86_400
    restored = await ask(api, "POST", f"/v1/trash/{entry['id']}/restore")
    assert restored == entry | {"object": "trash.entry.restored", "restored": True}
    assert await threads(api) == [first, second]
    assert len((await ask(api, "GET", f"/v1/threads/{first}/messages"))["data"]) == 1
    status, error = await refusal(api, "POST", f"/v1/trash/{entry['id']}/restore")
    assert (status, error["message"]) == (404, f"No trash entry found with id '{entry['id']}'.")
    assert await trash(api) == []


async def test_all_threads_go_at_once_and_come_back_at_once(api: Api) -> None:
    made = [await new_thread(api, str(number)) for number in range(3)]
    for path in ("/v1/threads", "/v1/threads?confirm=false", "/v1/threads?confirm="):
        status, error = await refusal(api, "DELETE", path)
        assert (status, error["param"], error["code"]) == (400, "confirm", "confirmation_required")
    assert await threads(api) == made
    deleted = await ask(api, "DELETE", "/v1/threads", confirm="true")
    assert deleted | {"trash_id": ""} == {
        "object": "thread.list.deleted",
        "deleted": True,
        "count": 3,
        "trash_id": "",
    }
    assert await threads(api) == []
    [entry] = await trash(api)
    assert (entry["id"], entry["kind"], entry["count"]) == (deleted["trash_id"], "threads", 3)
    assert (await ask(api, "DELETE", "/v1/threads", confirm="true"))["trash_id"] is None
    await ask(api, "POST", f"/v1/trash/{entry['id']}/restore")
    assert await threads(api) == made


async def test_a_deletion_is_removed_for_good(api: Api) -> None:
    for title in ("One", "Two", "Three"):
        await ask(api, "DELETE", f"/v1/threads/{await new_thread(api, title)}")
    first, *others = await trash(api)
    gone = await ask(api, "DELETE", f"/v1/trash/{first['id']}")
    assert gone == {"id": first["id"], "object": "trash.entry.deleted", "deleted": True}
    assert await trash(api) == others
    for method, path in (("DELETE", f"/v1/trash/{first['id']}"), ("POST", f"/v1/trash/{first['id']}/restore")):
        status, _ = await refusal(api, method, path)
        assert status == 404
    for path in ("/v1/trash", "/v1/trash?confirm=false", "/v1/trash?confirm="):
        status, error = await refusal(api, "DELETE", path)
        assert (status, error["param"], error["code"]) == (400, "confirm", "confirmation_required")
    assert await trash(api) == others
    told = {"object": "trash.list.deleted", "deleted": True}
    assert await ask(api, "DELETE", "/v1/trash", confirm="true") == told | {"count": 2}
    assert await trash(api) == []
    assert await ask(api, "DELETE", "/v1/trash", confirm="true") == told | {"count": 0}


async def test_what_cannot_be_an_entry_is_not_found(api: Api) -> None:
    for hostile in ("..%2F..%2Fthreads", "thread-1-00000000", "%00", "x" * 4000):
        for method, path in (("POST", f"/v1/trash/{hostile}/restore"), ("DELETE", f"/v1/trash/{hostile}")):
            status, _ = await refusal(api, method, path)
            assert status == 404


async def test_a_thread_deleted_while_it_is_answered_frees_the_engine(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway.client)
    async with gateway.client.post(
        f"/v1/threads/{thread_id}/runs", json={"assistant_id": "jan", "stream": True}
    ) as stream:
        job = await worker.take()
        await job.begin()
        await job.say("Once")
        await gateway.json("DELETE", f"/v1/threads/{thread_id}")
        await job.until_cancelled()  # hangs, and the test fails, when nobody cancels the job
        events = parse_events(await stream.text())
    assert [name for name, _ in events[-2:]] == ["error", "done"]
    [entry] = await trash(gateway.client)
    await gateway.json("POST", f"/v1/trash/{entry['id']}/restore")
    [run] = (await gateway.json("GET", f"/v1/threads/{thread_id}/runs"))["data"]
    assert run["status"] == "cancelled"
    again = await start(gateway, thread_id)
    assert again["status"] == "queued"


async def test_a_thread_deleted_while_it_waits_leaves_no_job(gateway: Gateway, worker: ScriptedWorker) -> None:
    first, second = await new_thread(gateway.client), await new_thread(gateway.client)
    await start(gateway, first)
    await start(gateway, second)
    await gateway.json("DELETE", "/v1/threads?confirm=true")
    third = await new_thread(gateway.client)
    run = await start(gateway, third)
    assert (await worker.take()).job.id == f"{run['id']}.1"


async def test_a_thread_is_cleared_unless_it_is_busy(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway.client)
    run = await start(gateway, thread_id)
    path = f"/v1/threads/{thread_id}"
    status, error = await refusal(gateway.client, "POST", f"{path}/clear")
    assert (status, run["id"] in error["message"]) == (400, True)
    await worker.answer()
    while (await gateway.json("GET", f"{path}/runs/{run['id']}"))["status"] != "completed":
        pass
    cleared = await gateway.json("POST", f"{path}/clear")
    assert (cleared["id"], cleared["title"], cleared["object"]) == (thread_id, "Trip", "thread")
    for below in ("messages", "runs"):
        assert (await gateway.json("GET", f"{path}/{below}"))["data"] == []
    [entry] = await trash(gateway.client)
    await gateway.json("POST", f"/v1/trash/{entry['id']}/restore")
    assert len((await gateway.json("GET", f"{path}/messages"))["data"]) == 2
    status, _ = await refusal(gateway.client, "POST", "/v1/threads/jan_1/clear")
    assert status == 404


async def test_a_thread_is_copied(api: Api) -> None:
    thread_id = await new_thread(api)
    file_id = (await upload(api))["id"]
    body = {"role": "user", "content": "Read", "file_ids": [file_id]}
    message = await ask(api, "POST", f"/v1/threads/{thread_id}/messages", body)
    copy = await ask(api, "POST", f"/v1/threads/{thread_id}/clone")
    assert (copy["title"], copy["id"] != thread_id) == ("Trip", True)
    copied = (await ask(api, "GET", f"/v1/threads/{copy['id']}/messages"))["data"]
    assert copied[0] == message | {"thread_id": copy["id"]}
    named = await ask(api, "POST", f"/v1/threads/{thread_id}/clone", {"title": "Mine"})
    assert named["title"] == "Mine"
    assert len(await threads(api)) == 3
    status, _ = await refusal(api, "POST", "/v1/threads/jan_1/clone")
    assert status == 404
