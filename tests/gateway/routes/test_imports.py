"""POST /v1/threads/import over real HTTP: what is honest comes in whole, what is hostile leaves nothing."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from tests.fixtures import jan_damage, jan_folders, zips
from tests.fixtures.archives import tree, zipped
from tests.fixtures.gateway import Gateway
from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, refusal

PATH = "/v1/threads/import"
ZIP = {"Content-Type": "application/zip"}
JSON = {"Content-Type": "application/json"}


async def take_in(api: Api, data: bytes, **params: str) -> dict[str, Any]:
    """Import, which must succeed."""
    async with api.post(PATH, data=io.BytesIO(data), headers=ZIP, params=params) as answer:
        report: dict[str, Any] = await answer.json()
        assert answer.status == 200, report
        return report


async def on_disk(storage: StorageServer) -> dict[str, str]:
    return await asyncio.to_thread(tree, storage.janroot)


async def until_clean(api: Api, storage: StorageServer) -> None:
    """Wait until nothing is left of any import; storage hears a moment later that a client left.

    It may even begin with an import after the refusal was read. It hears requests in their order, so what it refuses
    itself comes after the beginning of all that was sent before.
    """
    status, _ = await refusal(api, "POST", PATH, data=b"no archive", headers=ZIP)
    assert status == 400
    async with asyncio.timeout(10):
        while list((storage.janroot / ".server/staging").iterdir()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def every_generation(root: Path) -> None:
    root.mkdir()
    jan_folders.v04_root(root)
    jan_folders.flat_thread(root)
    jan_folders.intermediate_thread(root)
    jan_folders.cortex_thread(root)
    jan_folders.v06_thread(root)
    jan_folders.every_assistant(root)


@pytest.fixture
async def jan(tmp_path: Path) -> bytes:
    """A Jan folder with threads of every generation, zipped as a person would."""
    await asyncio.to_thread(every_generation, tmp_path / "Jan")
    return await asyncio.to_thread(zipped, tmp_path / "Jan", "Jan/data/")


async def test_a_jan_folder_comes_in_and_is_listed_and_found_at_once(
    api: Api, storage_server: StorageServer, jan: bytes
) -> None:
    report = await take_in(api, jan)
    assert (report["object"], report["kind"], report["dry_run"]) == ("import.report", "janroot", False)
    counts = report["counts"]
    assert (counts["threads"], counts["models"], counts["assistants"], counts["messages"]) == (5, 3, 5, 15)
    assert (counts["remapped"], counts["refused"], report["has_more"]) == (0, 1, [])
    assert report["already_here"] == [{"kind": "assistant", "id": "jan"}]
    assert {"kind": "thread", "id": jan_folders.V04_THREAD} in report["kept"]
    listed = await ask(api, "GET", "/v1/threads", limit="100")
    assert len(listed["data"]) == 5
    async with asyncio.timeout(10):  # the index of words follows in a thread of its own
        while not (found := await ask(api, "GET", "/v1/threads", q="weekend Rome"))["data"]:
            pass
    assert [thread["id"] for thread in found["data"]] == [jan_folders.V04_THREAD]
    messages = await ask(api, "GET", f"/v1/threads/{jan_folders.V04_THREAD}/messages", order="asc")
    assert messages["data"][0]["content"][0]["text"]["value"] == "What would a weekend in Rome cost?"
    image = f"/v1/threads/{jan_folders.V04_THREAD}/messages/01HKF40AAAAAAAAAAAAAAAAAA2/files"
    assert [file["id"] for file in (await ask(api, "GET", image))["data"]] == [jan_folders.IMAGE_NAME]
    files = [path for path in storage_server.janroot.rglob("*") if path.is_file()]
    assert not any(jan_folders.SECRET.encode() in path.read_bytes() for path in files)
    assert {"path": "Jan/data/engines/openai.json", "key": "api_key"} in report["redacted"]
    assert jan_folders.SECRET not in json.dumps(report)


async def test_a_dry_run_says_the_same_and_changes_nothing(api: Api, storage_server: StorageServer, jan: bytes) -> None:
    before = await on_disk(storage_server)
    dry = await take_in(api, jan, dry_run="true")
    assert await on_disk(storage_server) == before
    assert await take_in(api, jan) == dry | {"dry_run": False}


async def test_the_same_again_finds_everything_here(api: Api, storage_server: StorageServer, jan: bytes) -> None:
    first = await take_in(api, jan)
    before = await on_disk(storage_server)
    second = await take_in(api, jan)
    assert await on_disk(storage_server) == before
    assert second["counts"]["already_here"] == first["counts"]["kept"] + first["counts"]["already_here"]
    assert second["counts"] | dict.fromkeys(("already_here",), 0) == {
        name: first["counts"][name] if name in ("quarantined", "refused", "redacted") else 0 for name in first["counts"]
    }


async def test_a_damaged_folder_comes_in_as_far_as_it_can_be_read(api: Api, tmp_path: Path) -> None:
    await asyncio.to_thread(jan_damage.damaged_root, tmp_path / "Jan", tmp_path / "outside")
    report = await take_in(api, await asyncio.to_thread(zipped, tmp_path / "Jan"))
    assert report["counts"]["threads"] == 14
    assert {"kind": "thread", "from": "name with spaces", "id": "name_with_spaces"} in report["remapped"]
    assert {item["path"] for item in report["quarantined"]} >= {
        "threads/jan_1705000001/thread.json",
        "threads/notes.txt",
        "models/broken/model.json",
        "assistants/readme.txt",
    }


async def test_progress_comes_as_events_and_the_report_last(api: Api, jan: bytes) -> None:
    async with api.post(PATH, data=io.BytesIO(jan), headers=ZIP, params={"stream": "true"}) as answer:
        assert answer.content_type == "text/event-stream"
        frames = (await answer.text()).strip().split("\n\n")
    assert frames[0].startswith('event: import.progress\ndata: {"object":"import.progress","stage":"reading"')
    assert frames[-2].startswith('event: import.report\ndata: {"object":"import.report"')
    assert frames[-1] == "data: [DONE]"


async def test_a_form_carries_a_file_too(api: Api, jan: bytes) -> None:
    form = FormData()
    form.add_field("file", jan, filename="Jan.zip", content_type="application/zip")
    async with api.post(PATH, data=form) as answer:
        assert (answer.status, (await answer.json())["counts"]["threads"]) == (200, 5)


async def test_a_form_says_what_the_query_may_say(api: Api, storage_server: StorageServer, jan: bytes) -> None:
    """A dry run that was asked for in the form imported everything."""
    before = await on_disk(storage_server)
    for order in (("file", "dry_run"), ("dry_run", "file")):
        async with api.post(PATH, data=_form(jan, order)) as answer:
            assert (answer.status, (await answer.json())["dry_run"]) == (200, True)
    async with api.post(PATH, data=_form(jan, ("stream", "file", "dry_run"))) as answer:
        assert answer.content_type == "text/event-stream"
        assert b'"dry_run":true' in await answer.read()
    assert await on_disk(storage_server) == before


async def test_a_parameter_that_is_unknown_or_sent_twice_imports_nothing(
    api: Api, storage_server: StorageServer, jan: bytes
) -> None:
    before = await on_disk(storage_server)
    for params in ([("dryrun", "true")], [("dry_run", "false"), ("dry_run", "true")], [("x\x00" * 99, "")]):
        status, error = await refusal(api, "POST", PATH, data=jan, headers=ZIP, params=params)
        assert status == 400
        assert error["param"].isprintable()
    for order in (("dryrun", "file"), ("file", "purpose"), ("file", "dry_run", "dry_run")):
        status, error = await refusal(api, "POST", PATH, data=_form(jan, order))
        assert (status, error["param"]) == (400, next(name for name in order[::-1] if name != "file"))
    status, error = await refusal(api, "POST", PATH, data=_form(jan, ("dry_run", "file")), params={"dry_run": "false"})
    assert (status, error["param"]) == (400, "dry_run")
    await until_clean(api, storage_server)
    assert await on_disk(storage_server) == before


def _form(data: bytes, order: tuple[str, ...]) -> FormData:
    """A form with the file where `order` says so, and flags that are true."""
    form = FormData()
    for name in order:
        if name == "file":
            form.add_field("file", data, filename="Jan.zip", content_type="application/zip")
        else:
            form.add_field(name, "true")
    return form


async def test_what_was_exported_comes_in_elsewhere_and_is_known_here(api: Api, storage_server: StorageServer) -> None:
    made = await ask(api, "POST", "/v1/threads", {"messages": [{"role": "user", "content": "Hello there"}]})
    async with api.get(f"/v1/threads/{made['id']}/export") as answer:
        exported = await answer.read()
    report = await take_in(api, exported)
    assert (report["kind"], report["already_here"]) == ("thread", [{"kind": "thread", "id": made["id"]}])
    await ask(api, "DELETE", f"/v1/threads/{made['id']}")
    report = await take_in(api, exported)
    assert report["remapped"] == [{"kind": "thread", "from": made["id"], "id": f"{made['id']}-2"}]
    messages = await ask(api, "GET", f"/v1/threads/{made['id']}-2/messages")
    assert messages["data"][0]["thread_id"] == f"{made['id']}-2"


def deep_json() -> bytes:
    return b'{"conversations":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"


HOSTILE: dict[str, Callable[[], bytes]] = {
    "climbs": lambda: zips.zip_with("../threads/jan_1/thread.json"),
    "climbs inside": lambda: zips.zip_with("threads/../../jan_1/thread.json"),
    "absolute": lambda: zips.zip_with("/threads/jan_1/thread.json"),
    "drive": lambda: zips.zip_with("C:/threads/jan_1/thread.json"),
    "backslash": lambda: zips.zip_with("threads\\jan_1\\thread.json"),
    "link": lambda: zips.zip_with("threads/jan_1/thread.json", b"/etc/passwd", mode=0o120777),
    "device": lambda: zips.zip_with("threads/jan_1/thread.json", mode=0o020644),
    "pipe": lambda: zips.zip_with("threads/jan_1/thread.json", mode=0o010644),
    "million": zips.many_entries,
    "bomb": lambda: zips.bomb(256 * 1024**2),
    "flat bomb": zips.overlapping_bomb,
    "nested bomb": lambda: zips.zip_of({"0.zip": zips.zip_of({"1.zip": zips.bomb(256 * 1024**2)})}),
    "longer than it says": lambda: zips.lying_size(says=1000, has=2000),
    "shorter than it says": lambda: zips.lying_size(says=300_000, has=2000),
    "checksum": zips.wrong_checksum,
    "case twins": lambda: zips.zip_twice("threads/jan_1/thread.json", "threads/JAN_1/thread.json"),
    "duplicates": lambda: zips.zip_twice("threads/jan_1/thread.json", "threads/jan_1/thread.json"),
    "encrypted": zips.encrypted,
    "truncated": lambda: zips.zip_of({"threads/jan_1/thread.json": b"{}" * 1000})[:-30],
    "no zip": lambda: b"%PDF-1.4\n%%EOF\n",
    "nothing": lambda: b"",
    "zip in zip": lambda: zips.zip_of({"jan.zip": zips.zip_of({"threads/jan_1/thread.json": b"{}"})}),
    "something else": lambda: zips.zip_of({"holiday.jpg": b"\xff\xd8"}),
    "long json": lambda: b'{"x":"' + b"x" * 100_000_000 + b'"}',
    "long list": lambda: b"[" + b"[]," * 30_000_000 + b"[]]",
    "deep json": deep_json,
    "conversations that are none": lambda: zips.zip_of({"conversations.json": b'{"not": "a list"}'}),
    "conversations of nothing": lambda: zips.zip_of({"conversations.json": b"[1, 2, null]"}),
    "conversations that are deep": lambda: zips.zip_of({"conversations.json": deep_json()}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_hostile_is_refused_and_leaves_nothing(
    api: Api, storage_server: StorageServer, name: str
) -> None:
    data = await asyncio.to_thread(HOSTILE[name])
    before = await on_disk(storage_server)
    status, error = await refusal(api, "POST", PATH, data=io.BytesIO(data), headers=ZIP)
    assert status == 400
    assert error["code"] in {
        "unsafe_archive",
        "invalid_archive",
        "unsupported_archive",
        "archive_too_large",
        "unknown_archive",
    }
    assert len(error["message"]) < 500
    await until_clean(api, storage_server)
    assert await on_disk(storage_server) == before


async def test_a_client_that_leaves_leaves_nothing(
    api: Api, gateway: Gateway, storage_server: StorageServer, jan: bytes
) -> None:
    before = await on_disk(storage_server)

    async def half() -> Any:
        yield jan[: len(jan) // 2]
        await asyncio.sleep(3600)

    upload = asyncio.create_task(gateway.client.post(PATH, data=half(), headers=ZIP))
    async with asyncio.timeout(10):
        while not list((storage_server.janroot / ".server/staging").iterdir()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    upload.cancel()
    await asyncio.gather(upload, return_exceptions=True)
    await until_clean(api, storage_server)
    assert await on_disk(storage_server) == before


async def test_others_are_served_meanwhile(api: Api, tmp_path: Path) -> None:
    def many(root: Path) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for number in range(2_000):
                archive.writestr(f"threads/jan_{1_700_000_000 + number}/thread.json", b'{"title":"x"}')
        return buffer.getvalue()

    data = await asyncio.to_thread(many, tmp_path)
    importing = asyncio.create_task(take_in(api, data))
    answered = 0
    while not importing.done():
        await ask(api, "GET", "/v1/threads")
        answered += 1
    assert (await importing)["counts"]["threads"] == 2_000
    assert answered > 3


async def test_bad_requests_are_refused_before_anything_is_read(api: Api) -> None:
    for params in ({"dry_run": "yes"}, {"stream": "1"}):
        status, error = await refusal(api, "POST", PATH, data=b"", headers=ZIP, params=params)
        assert (status, error["param"]) == (400, next(iter(params)))
    status, _ = await refusal(api, "POST", PATH, data=b"PK", headers={"Content-Type": "text/plain"})
    assert status == 415
    status, _ = await refusal(api, "GET", PATH)
    assert status in {404, 405}


async def test_a_refusal_says_what_would_be_taken_in_words_of_ours(api: Api) -> None:
    for data in (b"", b"junk" + b"PK\x03\x04", b"\x1f\x8b\x08\x00tar"):
        status, error = await refusal(api, "POST", PATH, data=data, headers=ZIP)
        assert (status, "zip" in error["message"]) == (400, True), error
    broken = b'--x\r\nContent-Disposition: form-data; name="a\x00"\r\n\r\nb\r\n--x--\r\n'
    for data in (broken, broken[:30], b""):
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        status, error = await refusal(api, "POST", PATH, data=data, headers=headers)
        assert status == 400
        assert not any(word in error["message"] for word in ("Invalid HTTP header", "Reading after EOF", "400,"))


async def test_two_peoples_folders_are_merged(api: Api, storage_server: StorageServer) -> None:
    """Their threads of the same second, their assistants and their uploads of one name are told apart."""

    def root(who: str) -> bytes:
        line = {
            "id": "msg_1",
            "thread_id": "jan_1704504633",
            "role": "user",
            "assistant_id": "poet",
            "content": [
                {"type": "text", "text": {"value": f"I am {who}", "annotations": []}},
                {"type": "image", "text": {"value": "", "annotations": ["threads/jan_1704504633/files/msg_1.png"]}},
                {"type": "image_file", "image_file": {"file_id": "file-1"}},
            ],
            "attachments": [{"file_id": "file-1", "tools": []}],
            "unknown": {"kept": True},
        }
        thread = {"id": "jan_1704504633", "assistants": [{"assistant_id": "poet"}, "jan"], "created": 1704504633123}
        return zips.zip_of(
            {
                "threads/jan_1704504633/thread.json": json.dumps(thread).encode(),
                "threads/jan_1704504633/messages.jsonl": json.dumps(line).encode() + b"\nnot json\n",
                "threads/jan_1704504633/files/msg_1.png": who.encode(),
                "assistants/poet/assistant.json": json.dumps({"id": "poet", "instructions": f"Rhyme, {who}"}).encode(),
                "files/file-1": who.encode() * 100,
                "files/file-1.json": b'{"id":"file-1","object":"file","filename":"a.txt","purpose":"assistants"}',
            }
        )

    merge: Callable[[str], Awaitable[dict[str, Any]]] = lambda who: take_in(api, root(who))  # noqa: E731
    assert (await merge("Ada"))["counts"]["kept"] == 3
    report = await merge("Grace")
    renamed = {item["kind"]: item["id"] for item in report["remapped"]}
    assert (renamed["thread"], renamed["assistant"]) == ("jan_1704504633-2", "poet-2")
    folder = storage_server.janroot / "threads/jan_1704504633-2"
    first, second = (await asyncio.to_thread((folder / "messages.jsonl").read_bytes)).splitlines()
    line = json.loads(first)
    assert (line["thread_id"], line["assistant_id"], line["unknown"]) == (folder.name, "poet-2", {"kept": True})
    assert line["content"][1]["text"]["annotations"] == [f"threads/{folder.name}/files/msg_1.png"]
    assert line["content"][2]["image_file"]["file_id"] == line["attachments"][0]["file_id"] == renamed["file"]
    assert second == b"not json"
    thread = json.loads(await asyncio.to_thread((folder / "thread.json").read_text))
    assert (thread["id"], thread["assistants"]) == (folder.name, [{"assistant_id": "poet-2"}, "jan"])
    async with api.get(f"/v1/files/{renamed['file']}/content") as answer:
        assert await answer.read() == b"Grace" * 100
    for who in ("Ada", "Grace"):
        assert (await merge(who))["counts"]["already_here"] == 3
