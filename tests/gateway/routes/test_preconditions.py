"""`ETag` names the state that was read; `If-Match` lets nothing happen to another one."""

from __future__ import annotations

import pytest

from tests.gateway.client import Api, ask


async def test_a_change_made_meanwhile_is_not_undone(api: Api) -> None:
    path = f"/v1/threads/{(await ask(api, 'POST', '/v1/threads', {}))['id']}"
    async with api.get(path) as answer:
        tag = answer.headers["ETag"]
    for title, if_match, status in [
        ("mine", tag, 200),
        ("late", tag, 412),
        ("late", f'"other", {tag}', 412),
        ("late", f"W/{tag}", 412),
        ("late", "no tag", 400),
        ("late", "", 400),
        ("any", "*", 200),
    ]:
        async with api.post(path, json={"title": title}, headers={"If-Match": if_match}) as answer:
            assert answer.status == status, await answer.text()
    async with api.delete(path, headers={"If-Match": tag}) as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (412, "precondition_failed")
    assert (await ask(api, "GET", path))["title"] == "any"


@pytest.mark.parametrize("kind", ["messages", "assistants"])
async def test_messages_and_assistants_have_them_too(api: Api, kind: str) -> None:
    collection, body = "/v1/assistants", {"model": "scripted"}
    if kind == "messages":
        thread = await ask(api, "POST", "/v1/threads", {})
        collection, body = f"/v1/threads/{thread['id']}/messages", {"role": "user", "content": "Hi"}
    async with api.post(collection, json=body) as answer:
        path, tag = f"{collection}/{(await answer.json())['id']}", answer.headers["ETag"]
    async with api.post(path, json={"metadata": {"k": "v"}}, headers={"If-Match": tag}) as answer:
        changed = answer.headers["ETag"]
        assert (answer.status, changed != tag) == (200, True)
    refused: list[tuple[str, dict[str, object] | None]] = [("POST", {"metadata": {}}), ("POST", {}), ("DELETE", None)]
    for method, sent in refused:
        async with api.request(method, path, json=sent, headers={"If-Match": tag}) as answer:
            assert answer.status == 412
    async with api.delete(path, headers={"If-Match": changed}) as answer:
        assert answer.status == 200
