"""POST /v1/threads/import with what other programs export: ChatGPT's archive, Claude's conversations."""

from __future__ import annotations

import json
from typing import Any

from tests.fixtures import jan_folders, zips
from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask
from tests.gateway.routes.test_imports import JSON, PATH, take_in


def chatgpt(title: str) -> dict[str, Any]:
    """The least that ChatGPT writes of a conversation, with a picture that is in the export."""

    def node(name: str, parent: str | None, role: str, content: dict[str, Any]) -> dict[str, Any]:
        message = {"id": name, "author": {"role": role}, "create_time": 1_700_000_000.5, "content": content}
        return {"id": name, "parent": parent, "children": [], "message": message}

    asked = {"content_type": "text", "parts": ["What would a weekend in Rome cost?"]}
    image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-AbC1", "size_bytes": 3}
    answered = {"content_type": "multimodal_text", "parts": ["Around 900 EUR.", image]}
    return {
        "title": title,
        "conversation_id": "8d3f0a52-1c55-4f0e-9a53-6f2f8e1f77aa",
        "create_time": 1_700_000_000.0,
        "update_time": 1_700_000_009.0,
        "mapping": {"a": node("a", None, "user", asked), "b": node("b", "a", "assistant", answered)},
        "current_node": "b",
    }


CLAUDE = {
    "uuid": "0b7a1c9e-8f3d-4f0e-9a53-6f2f8e1f77ab",
    "name": "Trip",
    "created_at": "2024-01-06T01:30:33.123Z",
    "updated_at": "2024-01-06T01:31:00.000Z",
    "chat_messages": [
        {"uuid": "m1", "sender": "human", "text": "Hi", "created_at": "2024-01-06T01:30:40Z"},
        {"uuid": "m2", "sender": "assistant", "text": "Hello", "created_at": "2024-01-06T01:30:41Z"},
    ],
}


async def test_chatgpts_export_comes_in_with_its_pictures(api: Api, storage_server: StorageServer) -> None:
    export = zips.zip_of(
        {
            "conversations.json": json.dumps([chatgpt("Trip"), 7]).encode(),
            "file-AbC1-rome.png": jan_folders.PNG,
            "user.json": b"{}",
        }
    )
    report = await take_in(api, export)
    assert (report["kind"], report["counts"]["threads"], report["counts"]["messages"]) == ("chatgpt", 1, 2)
    assert [item["path"] for item in report["refused"]] == ["user.json"]
    thread_id = report["kept"][0]["id"]
    messages = await ask(api, "GET", f"/v1/threads/{thread_id}/messages", order="asc")
    assert messages["data"][0]["content"][0]["text"]["value"] == "What would a weekend in Rome cost?"
    files = await ask(api, "GET", f"/v1/threads/{thread_id}/messages/{messages['data'][1]['id']}/files")
    async with api.get(
        f"/v1/threads/{thread_id}/messages/{messages['data'][1]['id']}/files/{files['data'][0]['id']}/content"
    ) as answer:
        assert await answer.read() == jan_folders.PNG
    again = await take_in(api, export)
    assert again["already_here"] == [{"kind": "thread", "id": thread_id}]
    thread = await ask(api, "GET", f"/v1/threads/{thread_id}")
    assert (thread["title"], thread["created_at"]) == ("Trip", 1_700_000_000)


async def test_claudes_conversations_come_in_as_a_bare_file(api: Api) -> None:
    data = json.dumps([CLAUDE]).encode()
    for outcome in ("kept", "already_here"):
        async with api.post(PATH, data=data, headers=JSON) as answer:
            report = await answer.json()
        assert (answer.status, report["kind"]) == (200, "claude"), report
        assert report[outcome] == [{"kind": "thread", "id": f"claude_{CLAUDE['uuid']}"}]
