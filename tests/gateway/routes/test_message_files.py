"""What messages bring along: uploads, and the images and documents of Jan's own threads."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, refusal, upload

PNG, PDF = "01HKF3Z7W3V8Q2M5N6P7R8S9T0", "01HKF40AAAAAAAAAAAAAAAAAAA"


async def say(api: Api, thread: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return await ask(api, "POST", f"/v1/threads/{thread['id']}/messages", {"role": "user", "content": "Hi", **fields})


def files_of(message: dict[str, Any]) -> str:
    return f"/v1/threads/{message['thread_id']}/messages/{message['id']}/files"


async def test_attached_uploads_are_listed_and_read(api: Api, thread: dict[str, Any]) -> None:
    ids = [(await upload(api, name.encode(), f"{name}.txt"))["id"] for name in "abc"]
    message = await say(
        api, thread, file_ids=ids[:2], attachments=[{"file_id": ids[2], "tools": [{"type": "file_search"}]}]
    )
    assert message["file_ids"] == [ids[2], ids[0], ids[1]]
    path = files_of(message)
    listed = await ask(api, "GET", path, order="asc")
    assert [file["id"] for file in listed["data"]] == message["file_ids"]
    one = await ask(api, "GET", f"{path}/{ids[0]}")
    assert one == {
        "id": ids[0],
        "object": "thread.message.file",
        "created_at": one["created_at"],
        "message_id": message["id"],
        "filename": "a.txt",
        "bytes": 1,
    }
    assert one in listed["data"]
    page = await ask(api, "GET", path, order="asc", limit="1", after=ids[2])
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([ids[0]], True)
    async with api.get(f"{path}/{ids[1]}/content") as answer:
        assert (await answer.read(), answer.content_type) == (b"b", "application/octet-stream")
        tag = answer.headers["ETag"]
    for asked, status, data in (("bytes=0-5", 206, b"b"), ("bytes=-1", 206, b"b"), ("bytes=1-", 416, None)):
        headers = {"Range": asked, "If-Range": tag}
        async with api.get(f"{path}/{ids[1]}/content", headers=headers) as answer:
            assert (answer.status, answer.headers["Accept-Ranges"]) == (status, "bytes")
            assert data in (None, await answer.read())
    await ask(api, "DELETE", f"/v1/files/{ids[0]}")
    assert [file["id"] for file in (await ask(api, "GET", path, order="asc"))["data"]] == [ids[2], ids[1]]
    status, _ = await refusal(api, "GET", f"{path}/{ids[0]}")
    assert status == 404


async def test_a_file_of_another_message_is_not_this_ones(api: Api, thread: dict[str, Any]) -> None:
    file_id = (await upload(api))["id"]
    await say(api, thread, file_ids=[file_id])
    plain = await say(api, thread)
    assert (await ask(api, "GET", files_of(plain)))["data"] == []
    for below in ("", "/content"):
        status, _ = await refusal(api, "GET", f"{files_of(plain)}/{file_id}{below}")
        assert status == 404


@pytest.mark.parametrize("unknown", ["file-0123456789abcdef01234567", "../x", "x" * 200, "\u00e4"])
async def test_an_unknown_file_is_refused_and_nothing_is_said(api: Api, thread: dict[str, Any], unknown: str) -> None:
    known = (await upload(api))["id"]
    image = [{"type": "image_file", "image_file": {"file_id": unknown}}]
    attached = {"file_id": known, "tools": []}
    hi = {"role": "user", "content": "Hi"}
    bodies: list[tuple[dict[str, Any], str]] = [
        ({"content": "Hi", "attachments": [attached], "file_ids": [known, unknown]}, "file_ids[1]"),
        ({"content": "Hi", "attachments": [attached, attached | {"file_id": unknown}]}, "attachments[1].file_id"),
        ({"content": [{"type": "text", "text": "Look."}, *image]}, "content[1].image_file.file_id"),
    ]
    path = f"/v1/threads/{thread['id']}"
    for body, param in bodies:
        message = hi | body
        for route, sent, before in (
            (f"{path}/messages", message, ""),
            ("/v1/threads", {"messages": [hi, message]}, "messages[1]."),
            (f"{path}/runs", {"assistant_id": "jan", "additional_messages": [message]}, "additional_messages[0]."),
            ("/v1/threads/runs", {"assistant_id": "jan", "thread": {"messages": [message]}}, "thread.messages[0]."),
        ):
            status, error = await refusal(api, "POST", route, json=sent)
            assert (status, error["param"]) == (400, before + param)
    assert (await ask(api, "GET", f"{path}/messages"))["data"] == []
    assert len((await ask(api, "GET", "/v1/threads"))["data"]) == 1


def old_thread(janroot: Path, *lines: dict[str, Any]) -> Path:
    """A thread of Jan v0.4 with an image and a document."""
    folder = janroot / "threads" / "jan_1704504633"
    (folder / "files").mkdir(parents=True)
    (folder / "thread.json").write_text('{"id":"jan_1704504633","title":"Old","created":1704504633123}')
    (folder / "files" / f"{PNG}.png").write_bytes(b"\x89PNG")
    (folder / "files" / f"{PDF}.pdf").write_bytes(b"%PDF")
    (folder / "messages.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def line(message_id: str, kind: str, *annotations: Any) -> dict[str, Any]:
    text = {"value": "Look", "annotations": list(annotations), "name": "plan.pdf", "size": 4}
    return {
        "id": message_id,
        "thread_id": "jan_1704504633",
        "role": "user",
        "created": 1704504640111,
        "content": [{"type": kind, "text": text}],
    }


async def test_images_and_documents_of_old_threads_are_served(api: Api, storage_server: StorageServer) -> None:
    await asyncio.to_thread(
        old_thread,
        storage_server.janroot,
        line(PNG, "image", f"threads/jan_1704504633/files/{PNG}.png"),
        line(PDF, "pdf", f"C:\\Users\\ann\\jan\\threads\\jan_1704504633\\files\\{PDF}.pdf"),
        line("m3", "image", "data:image/png;base64,AAAA"),
        line("m4", "image", f"threads/other/files/{PNG}.png", f"/x/files/{PNG}.png"),
    )
    expected = [(PNG, [f"{PNG}.png"]), (PDF, [f"{PDF}.pdf"]), ("m3", []), ("m4", [f"{PNG}.png"])]
    for message_id, names in expected:
        path = f"/v1/threads/jan_1704504633/messages/{message_id}/files"
        listed = (await ask(api, "GET", path))["data"]
        assert [file["id"] for file in listed] == names
        assert all((file["message_id"], file["created_at"]) == (message_id, 1704504640) for file in listed)
    for message_id, name, content_type, data in (
        (PNG, f"{PNG}.png", "image/png", b"\x89PNG"),
        (PDF, f"{PDF}.pdf", "application/pdf", b"%PDF"),
    ):
        async with api.get(f"/v1/threads/jan_1704504633/messages/{message_id}/files/{name}/content") as answer:
            assert (await answer.read(), answer.content_type) == (data, content_type)
            assert answer.headers["Content-Disposition"].startswith("attachment")
            assert answer.headers["Content-Security-Policy"].startswith("sandbox")


async def test_no_annotation_leads_out_of_the_threads_folder(
    api: Api, storage_server: StorageServer, tmp_path: Path
) -> None:
    def prepare() -> None:
        secret = tmp_path / "secret.png"
        secret.write_text("secret")
        paths = [
            "/etc/passwd",
            "../../../../etc/passwd",
            "threads/jan_1704504633/files/../thread.json",
            "threads/jan_1704504633/files/..",
            "files/linked.png",
            "threads/jan_1704504633/files/folder",
            "threads/jan_1704504633/thread.json",
            "files/\x00",
            "files/" + "x" * 5000,
            {"type": "file_citation"},
            7,
            None,
        ]
        folder = old_thread(storage_server.janroot, line("m1", "image", *paths))
        (folder / "files" / "linked.png").symlink_to(secret)
        (folder / "files" / "folder").mkdir()

    await asyncio.to_thread(prepare)
    path = "/v1/threads/jan_1704504633/messages/m1/files"
    assert (await ask(api, "GET", path))["data"] == []
    for hostile in ("linked.png", "folder", "passwd", "thread.json", "..%2Fthread.json", "%2e%2e", f"{PNG}.png"):
        for below in ("", "/content"):
            status, _ = await refusal(api, "GET", URL(f"{path}/{hostile}{below}", encoded=True))
            assert status == 404


async def test_a_linked_files_folder_is_not_followed(api: Api, storage_server: StorageServer, tmp_path: Path) -> None:
    def prepare() -> None:
        folder = old_thread(storage_server.janroot, line(PNG, "image", f"files/{PNG}.png"))
        (folder / "files").rename(tmp_path / "elsewhere")
        (folder / "files").symlink_to(tmp_path / "elsewhere")

    await asyncio.to_thread(prepare)
    assert (await ask(api, "GET", f"/v1/threads/jan_1704504633/messages/{PNG}/files"))["data"] == []


async def test_file_ids_of_old_lines_are_attachments(api: Api, storage_server: StorageServer) -> None:
    file_id = (await upload(api))["id"]
    old = line("m1", "text") | {"file_ids": [file_id, 7, "gone"]}
    await asyncio.to_thread(old_thread, storage_server.janroot, old)
    message = await ask(api, "GET", "/v1/threads/jan_1704504633/messages/m1")
    assert message["file_ids"] == [file_id, "gone"]
    listed = await ask(api, "GET", "/v1/threads/jan_1704504633/messages/m1/files")
    assert [file["id"] for file in listed["data"]] == [file_id]
