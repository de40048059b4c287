"""Every list, paged through with any limits while objects come and go: each that stays is shown once, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.batches.batch_files import line, lines, new_batch
from tests.gateway.client import Api, ask, upload

HI: Final = {"role": "user", "content": "Hi"}
MESSAGE: Final = {"type": "message", **HI}
COUNT: Final = 7


@dataclass(frozen=True)
class Listed:
    """A list, how an object comes into it, and how one goes out of it, if it can."""

    path: str
    make: Callable[[], Awaitable[str]]
    can_go: bool = True
    orders: tuple[str, ...] = ("asc", "desc")
    after: str = "after"
    before: str = "before"


def posted(api: Api, path: str, body: Any, *, orders: tuple[str, ...] = ("asc", "desc")) -> Listed:
    """Where objects are made by POST, and each has its own path to be deleted."""

    async def make() -> str:
        return str((await ask(api, "POST", path, body))["id"])

    return Listed(path, make, orders=orders)


async def assistants(gateway: Gateway) -> Listed:
    return posted(gateway.client, "/v1/assistants", {"model": MODEL_ID})


async def threads(gateway: Gateway) -> Listed:
    return posted(gateway.client, "/v1/threads", {})


async def messages(gateway: Gateway) -> Listed:
    thread = await ask(gateway.client, "POST", "/v1/threads", {})
    return posted(gateway.client, f"/v1/threads/{thread['id']}/messages", HI)


async def vector_stores(gateway: Gateway) -> Listed:
    return posted(gateway.client, "/v1/vector_stores", {})


async def files(gateway: Gateway) -> Listed:
    async def make() -> str:
        return str((await upload(gateway.client))["id"])

    return Listed("/v1/files", make)


async def store_files(gateway: Gateway) -> Listed:
    store = await ask(gateway.client, "POST", "/v1/vector_stores", {})
    path = f"/v1/vector_stores/{store['id']}/files"

    async def make() -> str:
        file = await upload(gateway.client)
        return str((await ask(gateway.client, "POST", path, {"file_id": file["id"]}))["id"])

    return Listed(path, make)


async def items(gateway: Gateway) -> Listed:
    path = f"/v1/conversations/{(await ask(gateway.client, 'POST', '/v1/conversations', {}))['id']}/items"

    async def make() -> str:
        return str((await ask(gateway.client, "POST", path, {"items": [MESSAGE]}))["data"][0]["id"])

    return Listed(path, make)


async def runs(gateway: Gateway) -> Listed:
    path = f"/v1/threads/{(await ask(gateway.client, 'POST', '/v1/threads', {}))['id']}/runs"

    async def make() -> str:
        run = await ask(gateway.client, "POST", path, {"assistant_id": "jan", "model": MODEL_ID})
        while run["status"] != "cancelled":  # there is one at a time
            if run["status"] in ("queued", "in_progress"):
                await gateway.client.post(f"{path}/{run['id']}/cancel", json={})
            run = await ask(gateway.client, "GET", f"{path}/{run['id']}")
        return str(run["id"])

    return Listed(path, make, can_go=False)


async def batches(gateway: Gateway) -> Listed:
    async def make() -> str:
        data = lines([line("a", {"model": "nobody", "messages": [HI]})])
        return str((await new_batch(gateway, data))["id"])

    return Listed("/v1/batches", make, can_go=False, orders=("desc",), before="")


async def message_batches(gateway: Gateway) -> Listed:
    params = {"model": "nobody", "max_tokens": 4, "messages": [HI]}
    listed = posted(gateway.client, "/v1/messages/batches", {"requests": [{"custom_id": "a", "params": params}]})
    return Listed(listed.path, listed.make, can_go=False, orders=("desc",), after="after_id", before="before_id")


KINDS = (*(assistants, threads, messages, vector_stores, files, store_files, items, runs, batches, message_batches),)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_stays_is_shown_once(gateway: Gateway, kind: Callable[[Gateway], Awaitable[Listed]]) -> None:
    listed = await kind(gateway)
    for order in listed.orders:
        await page_through(gateway, listed, order)


async def test_stored_chats_are_shown_once(gateway: Gateway, worker: ScriptedWorker) -> None:
    chat = {"model": MODEL_ID, "messages": [HI], "store": True}

    async def make() -> str:
        asking = asyncio.create_task(ask(gateway.client, "POST", "/v1/chat/completions", chat))
        await (await worker.take()).answer_whole("Hello")
        return str((await asking)["id"])

    for order in ("asc", "desc"):
        await page_through(gateway, Listed("/v1/chat/completions", make, before=""), order)


async def test_the_input_of_a_response_is_shown_once(gateway: Gateway) -> None:
    asked = {"model": MODEL_ID, "input": [MESSAGE] * COUNT, "background": True}
    response = await ask(gateway.client, "POST", "/v1/responses", asked)
    path = f"/v1/responses/{response['id']}/input_items"
    ids = [one["id"] for one in (await ask(gateway.client, "GET", path, order="asc"))["data"]]
    assert len(ids) == COUNT

    async def make() -> str:
        raise AssertionError("it is as it was sent")

    for order in ("asc", "desc"):
        await page_through(gateway, Listed(path, make, can_go=False), order, ids)


async def page_through(gateway: Gateway, listed: Listed, order: str, fixed: list[str] | None = None) -> None:
    """Forwards while objects come and go, then backwards."""
    there = fixed or [one["id"] for one in (await page(gateway, listed, order="asc"))["data"]]
    ids = there if fixed else [*there, *[await listed.make() for _ in range(COUNT - len(there))]]
    stays, came, seen, after = set(ids), [], list[str](), ""
    while True:
        told = await page(gateway, listed, order=order, limit=str(random.randint(1, 3)), **{listed.after: after})
        shown = [one["id"] for one in told["data"]]
        seen += shown
        # What was to come may have gone since the page before said that it would.
        assert [told["first_id"], told["last_id"]] == ([shown[0], shown[-1]] if shown else [None, None])
        if not told["has_more"]:
            break
        after = told["last_id"]
        if listed.can_go and random.random() < 0.5 and (others := sorted(stays - {after})):
            gone = random.choice(others)
            await ask(gateway.client, "DELETE", f"{listed.path}/{gone}")
            stays.discard(gone)
        if fixed is None and random.random() < 0.5:
            came.append(await listed.make())
    in_order = [*ids, *came] if order == "asc" else ids[::-1]
    assert len(seen) == len(set(seen))
    assert seen == [id_ for id_ in in_order if id_ in seen]
    assert stays <= set(seen)
    assert set(came) <= set(seen) if order == "asc" else not set(came) & set(seen)
    if listed.before:
        alive = [id_ for id_ in (*ids, *came) if id_ in stays or id_ in came]
        await page_back(gateway, listed, order, alive if order == "asc" else alive[::-1])


async def page_back(gateway: Gateway, listed: Listed, order: str, ids: list[str]) -> None:
    """From the last of these, which are all that there are, to the first."""
    seen = ids[-1:]
    while True:
        told = await page(gateway, listed, order=order, limit=str(random.randint(1, 3)), **{listed.before: seen[0]})
        seen = [*(one["id"] for one in told["data"]), *seen]
        if not told["has_more"]:
            break
    assert seen == ids


async def page(gateway: Gateway, listed: Listed, **query: str) -> dict[str, Any]:
    """A page; of lists that know one order alone that is not asked for, and of others an empty cursor is none."""
    if len(listed.orders) == 1:
        is_wrong = query.pop("order") == "asc"
        told = await ask(gateway.client, "GET", listed.path, **{name: one for name, one in query.items() if one})
        return {**told, "data": told["data"][::-1]} if is_wrong else told
    return await ask(gateway.client, "GET", listed.path, **{name: one for name, one in query.items() if one})
