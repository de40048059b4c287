"""/v1/files over real multipart, real gRPC and real files."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData, MultipartWriter
from openai.types import FileObject
from yarl import URL

from gateway.http import uploads
from storage_service.store import files as stored_files
from tests.fixtures.gateway import Gateway
from tests.fixtures.storage import StorageServer, limited_files
from tests.gateway.client import Api, ask, form, refusal, upload

BYTES = bytes(range(256)) * 3000  # several pieces, and every byte


async def until_clean(storage: StorageServer) -> None:
    """Wait until nothing of any upload is left; storage hears a moment later that one was broken off."""
    await until(lambda: not on_disk(storage))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  a folder rings no bell
            await asyncio.sleep(0.005)


def on_disk(storage: StorageServer) -> list[str]:
    """Every name in files/ and in the place where uploads grow."""
    return sorted(path.name for folder in ("files", ".server/staging") for path in (storage.janroot / folder).iterdir())


async def test_a_file_lives_and_dies(api: Api, storage_server: StorageServer) -> None:
    made = await upload(api, BYTES, "plan.pdf", purpose="user_data")
    FileObject.model_validate(made, strict=True)
    assert made == {
        "id": made["id"],
        "object": "file",
        "bytes": len(BYTES),
        "created_at": made["created_at"],
        "expires_at": None,
        "filename": "plan.pdf",
        "purpose": "user_data",
        "status": "processed",
        "status_details": None,
    }
    path = storage_server.janroot / "files" / made["id"]
    assert await asyncio.to_thread(path.read_bytes) == BYTES
    told = json.loads(await asyncio.to_thread(path.with_name(f"{path.name}.json").read_text))
    assert (told["filename"], told["bytes"], told["object"]) == ("plan.pdf", len(BYTES), "file")
    assert await ask(api, "GET", f"/v1/files/{made['id']}") == made
    async with api.get(f"/v1/files/{made['id']}/content") as answer:
        assert await answer.read() == BYTES
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="plan.pdf"')
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.content_type == "application/octet-stream"
    async with api.head(f"/v1/files/{made['id']}/content") as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(BYTES)))
    deleted = await ask(api, "DELETE", f"/v1/files/{made['id']}")
    assert deleted == {"id": made["id"], "object": "file", "deleted": True}
    assert on_disk(storage_server) == []
    for method, below in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        status, _ = await refusal(api, method, f"/v1/files/{made['id']}{below}")
        assert status == 404


async def test_an_empty_file_is_a_file(api: Api) -> None:
    made = await upload(api, b"")
    assert made["bytes"] == 0
    for asked in ({}, {"Range": "bytes=-5"}):
        async with api.get(f"/v1/files/{made['id']}/content", headers=asked) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
    async with api.get(f"/v1/files/{made['id']}/content", headers={"Range": "bytes=0-"}) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */0")


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=300000-600000", 300_000, 600_001),
        ("Bytes= 767999-", 767_999, 768_000),
        ("bytes=10-99999999999999999999999999", 10, 768_000),
        ("bytes=-300000", 468_000, 768_000),
        ("bytes=-99999999999999999999999999", 0, 768_000),
    ],
)
async def test_a_range_of_a_file(api: Api, asked: str, start: int, stop: int) -> None:
    path = f"/v1/files/{(await upload(api, BYTES, 'plan.pdf'))['id']}/content"
    async with api.get(path, headers={"Range": asked}) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{len(BYTES)}")
        assert (answer.headers["Content-Length"], await answer.read()) == (str(stop - start), BYTES[start:stop])
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="plan.pdf"')
    async with api.head(path, headers={"Range": asked}) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(BYTES)))
        assert (answer.headers["Accept-Ranges"], "Content-Range" in answer.headers) == ("bytes", False)


@pytest.mark.parametrize("asked", ["bytes=768000-", "bytes=99999999999999999999999999-", "bytes=-0"])
async def test_a_range_beyond_the_end(api: Api, asked: str) -> None:
    path = f"/v1/files/{(await upload(api, BYTES))['id']}/content"
    async with api.get(path, headers={"Range": asked}) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */768000")
        assert (await answer.json())["error"]["param"] == "Range"


@pytest.mark.parametrize(
    "asked", ["bytes=5-4", "bytes=-", "bytes=", "bytes=0-1,3-4", "lines=0-1", "bytes=-1-2", "0-1", ""]
)
async def test_what_is_no_range_is_ignored(api: Api, asked: str) -> None:
    async with api.get(f"/v1/files/{(await upload(api, BYTES))['id']}/content", headers={"Range": asked}) as answer:
        assert (answer.status, await answer.read()) == (200, BYTES)
        assert (answer.headers["Accept-Ranges"], "Content-Range" in answer.headers) == ("bytes", False)


async def test_a_range_of_a_file_that_changed_is_the_whole_file(api: Api, storage_server: StorageServer) -> None:
    made = await upload(api, BYTES)
    path = f"/v1/files/{made['id']}/content"
    async with api.head(path) as answer:
        tag = answer.headers["ETag"]
    for condition, status in ((tag, 206), (f"W/{tag}", 200), ('"other"', 200), ("Thu, 26 Nov 2026 16:00:00 GMT", 200)):
        async with api.get(path, headers={"Range": "bytes=-9", "If-Range": condition}) as answer:
            assert (answer.status, answer.headers["ETag"]) == (status, tag)
            assert await answer.read() == (BYTES[-9:] if status == 206 else BYTES)
    await asyncio.to_thread((storage_server.janroot / "files" / made["id"]).write_bytes, BYTES[::-1])
    async with api.get(path, headers={"Range": "bytes=-9", "If-Range": tag}) as answer:
        assert (answer.status, await answer.read()) == (200, BYTES[::-1])
        assert answer.headers["ETag"] != tag


async def test_the_file_may_come_before_its_purpose(api: Api) -> None:
    made = FormData()
    made.add_field("file", b"Hi", filename="a")
    made.add_field("purpose", "batch")
    made.add_field("expires_after[anchor]", "created_at")
    made.add_field("expires_after[seconds]", "3600")
    async with api.post("/v1/files", data=made) as answer:
        value = await answer.json()
    assert (value["purpose"], value["expires_at"] - value["created_at"]) == ("batch", 3600)


async def test_files_are_listed_paged_and_narrowed(api: Api) -> None:
    made = [(await upload(api, purpose=purpose))["id"] for purpose in ("batch", "vision", "batch", "batch", "vision")]
    listed = await ask(api, "GET", "/v1/files")
    assert [file["id"] for file in listed["data"]] == made[::-1]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (made[4], made[0], False)
    page = await ask(api, "GET", "/v1/files", limit="2", order="asc", after=made[1])
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([made[2], made[3]], True)
    narrowed = await ask(api, "GET", "/v1/files", purpose="vision")
    assert [file["id"] for file in narrowed["data"]] == [made[4], made[1]]
    for limit in ("0", "10001", "x"):
        status, error = await refusal(api, "GET", "/v1/files", params={"limit": limit})
        assert (status, error["param"]) == (400, "limit")
    assert (await ask(api, "GET", "/v1/files", limit="10000"))["has_more"] is False


@pytest.mark.parametrize(
    "filename",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\x",
        "../files_evil/x",
        "x" * 4000,
        'a"b',
        "..",
        "CON",
        "\u202egpj.exe",
        "<script>alert(1)</script>.html",
        "Grüße 🙂.txt",
        "a;b=c",
    ],
)
async def test_a_name_is_a_label_and_never_a_path(api: Api, storage_server: StorageServer, filename: str) -> None:
    made = await upload(api, b"Hi", filename)
    assert on_disk(storage_server) == [made["id"], f"{made['id']}.json"]
    assert made["id"].startswith("file-")
    assert 0 < len(made["filename"]) <= 255
    outside = {path.name for path in storage_server.janroot.parent.iterdir()}
    assert outside == {"janroot"}
    async with api.get(f"/v1/files/{made['id']}/content") as answer:
        assert await answer.read() == b"Hi"
        assert answer.headers["Content-Disposition"].isascii()
        assert "X-Evil" not in answer.headers
        assert answer.content_type == "application/octet-stream"


@pytest.mark.parametrize("name", ["a%0d%0aX-Evil: 1", "a%00b", "%f0%9f%99%82%7f"])
async def test_a_name_that_cannot_be_shown_is_made_showable(api: Api, name: str) -> None:
    parameter = f"filename*=UTF-8''{name.replace(' ', '%20').replace(':', '%3A')}".encode()
    async with api.post("/v1/files", **raw_form(PURPOSE, FILE.replace(b'filename="a"', parameter))) as answer:
        made = await answer.json()
    assert made["filename"].isprintable()
    async with api.get(f"/v1/files/{made['id']}/content") as answer:
        assert "X-Evil" not in answer.headers


async def test_a_name_longer_than_a_header_may_be_is_refused(api: Api) -> None:
    status, _ = await refusal(api, "POST", "/v1/files", data=form(filename="x" * 10_000))
    assert status == 400


def raw_form(*parts: bytes) -> dict[str, Any]:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    return {"data": body, "headers": {"Content-Type": "multipart/form-data; boundary=b"}}


FILE = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\nHi'
PURPOSE = b'Content-Disposition: form-data; name="purpose"\r\n\r\nassistants'


@pytest.mark.parametrize(
    "request_",
    [
        {"data": form(purpose="nonsense")},
        raw_form(PURPOSE, FILE.replace(b'; filename="a"', b"")),
        {"data": form(expires_after__anchor="created_at", expires_after__seconds="5")},
        {"data": form(expires_after__anchor="created_at", expires_after__seconds="x")},
        {"data": form(expires_after__seconds="3600")},
        {"data": form(purpose="x" * 5000)},
        raw_form(FILE),
        raw_form(PURPOSE),
        raw_form(FILE, FILE, PURPOSE),
        raw_form(PURPOSE, PURPOSE, FILE),
        raw_form(*[PURPOSE.replace(b"purpose", b"x%d" % number) for number in range(20)], FILE),
        raw_form(PURPOSE, FILE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n")),
        raw_form(b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n", PURPOSE, FILE),
        raw_form(b"\r\nno header", PURPOSE, FILE),
        raw_form(b"Content-Disposition: form-data; name=\xff\xfe; filename\r\n\r\nx", FILE, PURPOSE),
        raw_form(b"X: " + b"x" * 100_000 + b"\r\n\r\nx", FILE, PURPOSE),
        {"data": b"--b\r\n" + PURPOSE, "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        {"data": b"--b\r\n" + FILE + b"\r\n--b", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        {"data": b"", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        {"data": b"x", "headers": {"Content-Type": f"multipart/form-data; boundary={'b' * 100}"}},
        {"data": b"x" * 900_000, "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    ],
)
async def test_what_is_no_upload_is_refused_and_leaves_nothing(
    api: Api, storage_server: StorageServer, request_: dict[str, Any]
) -> None:
    status, _ = await refusal(api, "POST", "/v1/files", **request_)
    assert status == 400
    await until_clean(storage_server)


async def test_only_a_form_is_an_upload(api: Api) -> None:
    for content_type in ("application/json", "text/plain", "multipart/mixed; boundary=b"):
        status, error = await refusal(api, "POST", "/v1/files", data=b"{}", headers={"Content-Type": content_type})
        assert (status, error["code"]) == (415, "unsupported_media_type")


async def test_the_jsons_limit_is_not_the_uploads(api: Api) -> None:
    data = io.BytesIO(bytes(40 * 1024 * 1024))
    made = FormData({"purpose": "user_data"})
    made.add_field("file", data, filename="large")
    async with api.post("/v1/files", data=made) as answer:
        assert (await answer.json())["bytes"] == 40 * 1024 * 1024


async def test_a_file_over_the_limit_is_refused(
    api: Api, storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_FILE_BYTES", len(BYTES) - 1)
    status, _ = await refusal(api, "POST", "/v1/files", data=form(BYTES))
    assert status == 413
    monkeypatch.setattr(uploads, "MAX_FORM_BYTES", 0)
    status, _ = await refusal(api, "POST", "/v1/files", data=form(BYTES))
    assert status == 413
    await until_clean(storage_server)


async def test_storage_trusts_no_gateway_with_the_limit(
    api: Api, storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_files, "MAX_FILE_BYTES", len(BYTES) - 1)
    status, error = await refusal(api, "POST", "/v1/files", data=form(BYTES))
    assert (status, error["param"]) == (413, "file")
    await until_clean(storage_server)


async def test_an_upload_that_stands_still_is_given_up(
    gateway: Gateway, storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.05)
    writer = await begun_upload(gateway)
    reader = writer[0]
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"}}")
    assert b"upload_stalled" in answer
    writer[1].close()
    await until_clean(storage_server)


async def test_an_upload_that_breaks_off_leaves_nothing(gateway: Gateway, storage_server: StorageServer) -> None:
    _, writer = await begun_upload(gateway)
    await until(lambda: bool(on_disk(storage_server)))
    writer.close()
    await writer.wait_closed()
    await until_clean(storage_server)


async def begun_upload(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that sends half a file and then nothing."""
    url = URL(gateway.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {url.authority}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 2000000\r\n\r\n"
    )
    writer.write(head.encode() + b"--b\r\n" + PURPOSE + b"\r\n--b\r\n" + FILE + b"x" * 1_000_000)
    await writer.drain()
    return reader, writer


async def test_a_full_disk_is_507(api: Api, storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = await upload(api, b"kept")
    with limited_files(100_000):
        async with api.post("/v1/files", data=form(BYTES)) as answer:
            error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (507, "storage_full")
        async with api.get(f"/v1/files/{kept['id']}/content") as answer:
            assert await answer.read() == b"kept"
    assert on_disk(storage_server) == [kept["id"], f"{kept['id']}.json"]
    assert (await upload(api, BYTES))["bytes"] == len(BYTES)


async def test_many_bytes_from_many_pieces_keep_their_order(api: Api) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(50):
            yield bytes([number]) * 9973

    body = MultipartWriter("form-data", boundary="b")
    body.append("vision").set_content_disposition("form-data", name="purpose")
    body.append(pieces()).set_content_disposition("form-data", name="file", filename="a")
    async with api.post("/v1/files", data=body) as answer:
        made = await answer.json()
    async with api.get(f"/v1/files/{made['id']}/content") as answer:
        assert await answer.read() == b"".join([bytes([number]) * 9973 for number in range(50)])


async def test_no_id_leads_to_another_file(api: Api, storage_server: StorageServer, tmp_path: Path) -> None:
    made = await upload(api)
    (storage_server.janroot / "files" / "stray.txt").write_bytes(b"not an upload")
    (storage_server.janroot / "files" / "file-link").symlink_to(tmp_path)
    for hostile in (f"{made['id']}.json", "stray.txt", "file-link", "..%2Fthreads", "%2e%2e", "a%00b", "x" * 4000):
        for below in ("", "/content"):
            url = URL(f"/v1/files/{hostile}{below}", encoded=True)
            status, _ = await refusal(api, "GET", url)
            assert status == (400 if hostile == "file-link" else 404)
    assert [file["id"] for file in (await ask(api, "GET", "/v1/files"))["data"]] == [made["id"]]
