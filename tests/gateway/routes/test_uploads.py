"""/v1/uploads: a file in parts."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from aiohttp import FormData

from tests.gateway.client import Api, ask, refusal

ASKED = {"filename": "a.jsonl", "purpose": "batch", "mime_type": "text/jsonl"}


def data(text: bytes) -> FormData:
    form = FormData()
    form.add_field("data", text, filename="part")
    return form


async def new_upload(api: Api, size: int, **fields: Any) -> str:
    upload_id: str = (await ask(api, "POST", "/v1/uploads", ASKED | {"bytes": size} | fields))["id"]
    return upload_id


async def add(api: Api, upload_id: str, text: bytes, key: str = "") -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    async with api.post(f"/v1/uploads/{upload_id}/parts", data=data(text), headers=headers) as answer:
        part: dict[str, Any] = await answer.json()
        assert answer.status == 200, part
        return part


async def files(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(api, "GET", "/v1/files"))["data"]
    return found


async def test_parts_become_a_file_in_the_order_named(api: Api) -> None:
    upload = await ask(api, "POST", "/v1/uploads", ASKED | {"bytes": 9})
    assert upload["id"].startswith("upload_")
    assert (upload["object"], upload["status"], upload["file"]) == ("upload", "pending", None)
    assert upload["expires_at"] - upload["created_at"] == 3600
    second, first = await asyncio.gather(add(api, upload["id"], b"world"), add(api, upload["id"], b"the "))
    assert (first["object"], first["upload_id"]) == ("upload.part", upload["id"])
    assert first["id"].startswith("part_")
    md5 = hashlib.md5(b"the world", usedforsecurity=False).hexdigest()
    body = {"part_ids": [first["id"], second["id"]], "md5": md5}
    done = await ask(api, "POST", f"/v1/uploads/{upload['id']}/complete", body)
    assert done["status"] == "completed"
    file = done["file"]
    assert (file["filename"], file["purpose"], file["bytes"], file["expires_at"]) == ("a.jsonl", "batch", 9, None)
    assert await files(api) == [file]
    async with api.get(f"/v1/files/{file['id']}/content") as answer:
        assert await answer.read() == b"the world"
    assert await ask(api, "POST", f"/v1/uploads/{upload['id']}/complete", body) == done
    for path in ("cancel", "complete"):
        status, _ = await refusal(api, "POST", f"/v1/uploads/{upload['id']}/{path}", json={"part_ids": ["part_x"]})
        assert status == 400


@pytest.mark.parametrize(
    ("names", "md5", "param"),
    [
        ([0], None, "part_ids"),
        ([0, 0], None, "part_ids"),
        ([0, 1, 2], None, "part_ids"),
        ([0, 1], "0" * 32, "md5"),
        ([0, 1], "nonsense", "md5"),
        ([], None, "part_ids"),
    ],
)
async def test_what_is_not_as_announced_makes_no_file(api: Api, names: list[int], md5: str | None, param: str) -> None:
    upload_id = await new_upload(api, 4)
    parts = [(await add(api, upload_id, text))["id"] for text in (b"ab", b"cd")] + ["part_unknown"]
    body = {"part_ids": [parts[name] for name in names], "md5": md5}
    status, error = await refusal(api, "POST", f"/v1/uploads/{upload_id}/complete", json=body)
    assert (status, error["param"]) == (400, param)
    status, error = await refusal(
        api, "POST", f"/v1/uploads/{upload_id}/complete", json={"part_ids": [parts[0], "../x"]}
    )
    assert (status, error["param"], error["code"]) == (400, "part_ids[1]", "invalid_id")
    assert await files(api) == []
    assert (await ask(api, "POST", f"/v1/uploads/{upload_id}/complete", {"part_ids": parts[:2]}))["file"]["bytes"] == 4


async def test_more_than_was_announced_is_refused(api: Api) -> None:
    upload_id = await new_upload(api, 2)
    await add(api, upload_id, b"ab")
    await add(api, upload_id, b"ab")
    status, error = await refusal(api, "POST", f"/v1/uploads/{upload_id}/parts", data=data(b"c"))
    assert (status, error["param"]) == (413, "data")


async def test_a_part_that_is_sent_again_is_one_part(api: Api) -> None:
    upload_id = await new_upload(api, 2)
    first = await add(api, upload_id, b"ab", key="once")
    assert await add(api, upload_id, b"ab", key="once") == first


async def test_an_upload_that_was_given_up_takes_nothing(api: Api) -> None:
    upload_id = await new_upload(api, 2)
    await add(api, upload_id, b"ab")
    for _ in range(2):
        assert (await ask(api, "POST", f"/v1/uploads/{upload_id}/cancel"))["status"] == "cancelled"
    status, _ = await refusal(api, "POST", f"/v1/uploads/{upload_id}/parts", data=data(b"cd"))
    assert status == 400
    status, _ = await refusal(api, "POST", "/v1/uploads/upload_none/parts", data=data(b"cd"))
    assert status == 404


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "batch_output"}, "purpose"),
        ({"bytes": 0}, "bytes"),
        ({"bytes": 8 * 1024**3 + 1}, "bytes"),
        ({"mime_type": ""}, "mime_type"),
        ({"filename": None}, "filename"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
    ],
)
async def test_what_cannot_be_announced(api: Api, fields: dict[str, Any], param: str) -> None:
    status, error = await refusal(api, "POST", "/v1/uploads", json=ASKED | {"bytes": 4} | fields)
    assert (status, error["param"]) == (400, param)


async def test_a_part_needs_its_data(api: Api) -> None:
    upload_id = await new_upload(api, 2)
    form = FormData()
    form.add_field("file", b"ab", filename="a")
    status, error = await refusal(api, "POST", f"/v1/uploads/{upload_id}/parts", data=form)
    assert (status, error["param"], error["code"]) == (400, "data", "missing_required_parameter")
