"""Assistants by zip and by URL, over HTTP on the whole gateway; another server of this machine plays the web."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.fixtures.assistant_zips import INDEX_JS, SHAKESPEARE, folder, zipped
from tests.fixtures.gateway import Gateway, running_gateway, write_model
from tests.fixtures.other_server import OtherServer, other_server
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, form, refusal

IMPORT = "/v1/assistants/import"
ZIP = {"Content-Type": "application/zip"}


@pytest.fixture
async def other() -> AsyncIterator[OtherServer]:
    async with other_server() as server:
        server.files = {
            "/assistant.json": json.dumps(SHAKESPEARE).encode(),
            "/shakespeare.zip": zipped(folder()),
            "/hostile.zip": zipped({"../../evil": b"x", "a/assistant.json": b"{}"}),
            "/list.json": b"[]",
        }
        yield server


@pytest.fixture
async def gateway(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, other: OtherServer
) -> AsyncIterator[Gateway]:
    """A gateway that may download from the other server and from nowhere else."""
    write_model(storage_server.janroot)
    hosts = f"127.0.0.1:{other.port}"
    async with running_gateway(storage_server, redis_server, JANROOT_DOWNLOAD_HOSTS=hosts) as gateway:
        yield gateway


async def send(api: Api, data: bytes, **params: str) -> dict[str, Any]:
    async with api.post(IMPORT, data=data, headers=ZIP, params=params) as answer:
        value: dict[str, Any] = await answer.json()
        assert answer.status == 200, value
        return value


async def settled(api: Api, assistant_id: str) -> dict[str, Any]:
    """The assistant once nobody downloads it any more."""
    while True:
        assistant = await ask(api, "GET", f"/v1/assistants/{assistant_id}")
        if assistant["state"] != "downloading":
            return assistant
        await asyncio.sleep(0.005)


def files_below(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


async def test_a_zipped_folder_is_an_assistant_with_everything_that_lay_in_it(
    api: Api, storage_server: StorageServer
) -> None:
    made = await send(api, zipped(folder()))
    assert (made["id"], made["state"], made["name"]) == ("shakespeare", "ready", "Shakespeare")
    assert made["models"] == ["model_zephyr_7b", "azure-openai-gpt4-turbo"]
    assert [tool["type"] for tool in made["tools"]] == ["retrieval", "web_browsing"]
    assert (made["file_ids"], made["avatar"], made["thread_location"]) == (["file_id"], "🎭", "ROOT/threads")
    assert (made["source_url"], made["error"]) == (None, None)
    place = storage_server.janroot / "assistants" / "shakespeare"
    assert files_below(place) == folder("")
    assert not list((storage_server.janroot / ".server" / "staging").iterdir())
    assert await ask(api, "GET", "/v1/assistants/shakespeare") == made


async def test_a_form_and_an_id_of_ones_own(api: Api) -> None:
    async with api.post(IMPORT, data=form(zipped(folder("")), "a.zip", id="mine")) as answer:
        assert (await answer.json())["id"] == "mine"
    assert (await send(api, zipped(folder("")), id="other"))["id"] == "other"
    assert (await send(api, zipped(folder(""))))["id"] == "asst_abc123"
    listed = await ask(api, "GET", "/v1/assistants", limit="100")
    assert {"mine", "other", "asst_abc123", "jan"} == {item["id"] for item in listed["data"]}
    assert {item["state"] for item in listed["data"]} == {"ready"}


async def test_the_same_again_is_the_same_assistant_and_another_under_its_id_is_refused(
    api: Api, storage_server: StorageServer
) -> None:
    first = await send(api, zipped(folder()))
    assert await send(api, zipped(folder())) == first
    status, error = await refusal(api, "POST", IMPORT, data=zipped(folder(name="shakespeare/", v=2)), headers=ZIP)
    assert (status, error["code"], error["param"]) == (409, "assistant_exists", "id")
    assert files_below(storage_server.janroot / "assistants" / "shakespeare") == folder("")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"not json",
        zipped({}),
        zipped({"readme.txt": b"x"}),
        zipped({"a/assistant.json": b"[]"}),
        zipped({"a/assistant.json": b"{}", "b/assistant.json": b"{}"}),
        zipped({"../assistant.json": b"{}"}),
        zipped({"/etc/assistant.json": b"{}", "a/assistant.json": b"{}"}),
        zipped(folder())[:-30],
    ],
)
async def test_what_is_no_assistant_leaves_nothing(api: Api, storage_server: StorageServer, data: bytes) -> None:
    status, error = await refusal(api, "POST", IMPORT, data=data, headers=ZIP)
    assert status == 400
    assert error["code"] in {"invalid_assistant", "invalid_archive", "unsafe_archive", "incomplete_upload"}
    assert [path.name for path in (storage_server.janroot / "assistants").iterdir()] == ["jan"]
    assert not list((storage_server.janroot / ".server" / "staging").iterdir())


async def test_bad_ids_and_other_content_types(api: Api) -> None:
    assert (await refusal(api, "POST", f"{IMPORT}?id=../x", data=zipped(folder()), headers=ZIP))[0] == 400
    assert (await refusal(api, "POST", IMPORT, json={"url": "http://a.test/", "id": "a/b"}))[0] == 400
    assert (await refusal(api, "POST", IMPORT, data=b"{}", headers={"Content-Type": "text/plain"}))[0] == 415


async def test_an_assistant_by_url_goes_through_its_states(
    api: Api, other: OtherServer, storage_server: StorageServer
) -> None:
    url = other.url("/shakespeare.zip")
    waiting = await ask(api, "POST", IMPORT, {"url": url, "id": "bard", "download": False})
    assert (waiting["id"], waiting["state"], waiting["source_url"]) == ("bard", "to_download", url)
    assert other.connections == 0
    assert await ask(api, "POST", IMPORT, {"url": url, "id": "bard", "download": False}) == waiting
    assert (await ask(api, "POST", "/v1/assistants/bard/download"))["state"] in {"downloading", "ready"}
    ready = await settled(api, "bard")
    assert (ready["state"], ready["source_url"], ready["error"], ready["name"]) == ("ready", url, None, "Shakespeare")
    assert ready["created_at"] == waiting["created_at"]
    assert files_below(storage_server.janroot / "assistants" / "bard")["src/index.js"] == INDEX_JS
    # The same URL once more is this assistant, with nothing fetched.
    assert (await ask(api, "POST", IMPORT, {"url": url}))["id"] == "bard"
    assert other.connections == 1


async def test_what_people_change_while_it_is_awaited_stays(api: Api, other: OtherServer) -> None:
    waiting = await ask(api, "POST", IMPORT, {"url": other.url("/assistant.json"), "download": False})
    path = f"/v1/assistants/{waiting['id']}"
    await ask(api, "PATCH", path, {"name": "Bill"})
    await ask(api, "POST", f"{path}/download")
    ready = await settled(api, waiting["id"])
    assert (ready["state"], ready["name"], ready["instructions"]) == ("ready", "Bill", "Answer in verse.")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/missing", "download_failed"),
        ("/redirects", "download_redirected"),
        ("/cut", "download_cut_short"),
        ("/endless-head", "download_failed"),
        ("/gzip", "download_encoded"),
        ("/huge", "download_too_large"),
        ("/page", "invalid_assistant"),
        ("/list.json", "invalid_assistant"),
        ("/hostile.zip", "unsafe_archive"),
    ],
)
async def test_a_download_that_fails_says_why_and_can_be_tried_again(
    api: Api, other: OtherServer, storage_server: StorageServer, path: str, code: str
) -> None:
    begun = await ask(api, "POST", IMPORT, {"url": other.url(path), "id": "x"})
    failed = await settled(api, begun["id"])
    assert (failed["state"], failed["error"]["code"]) == ("to_download", code)
    assert failed["error"]["message"]
    assert not list((storage_server.janroot / ".server" / "staging").iterdir())
    assert [file.name for file in (storage_server.janroot / "assistants" / "x").iterdir()] == ["assistant.json"]
    other.files[path] = json.dumps(SHAKESPEARE).encode()
    if path in ("/missing", "/list.json", "/hostile.zip"):
        await ask(api, "POST", "/v1/assistants/x/download")
        mended = await settled(api, "x")
        assert (mended["state"], mended["error"]) == ("ready", None)


async def test_downloading_is_one_at_a_time_and_can_be_cancelled(api: Api, other: OtherServer) -> None:
    begun = await ask(api, "POST", IMPORT, {"url": other.url("/stalls"), "id": "slow"})
    assert begun["state"] == "downloading"
    while (begun := await ask(api, "GET", "/v1/assistants/slow"))["downloaded_bytes"] == 0:
        assert begun["state"] == "downloading"
    assert begun["downloaded_bytes"] == 65_536
    status, error = await refusal(api, "POST", "/v1/assistants/slow/download")
    assert (status, error["code"]) == (409, "download_running")
    stopped = await ask(api, "DELETE", "/v1/assistants/slow/download")
    assert (stopped["state"], stopped["error"]["code"]) == ("to_download", "download_cancelled")
    assert (await ask(api, "DELETE", "/v1/assistants/slow/download"))["state"] == "to_download"


async def test_an_assistant_deleted_in_mid_download_stays_deleted(api: Api, other: OtherServer) -> None:
    await ask(api, "POST", IMPORT, {"url": other.url("/stalls"), "id": "slow"})
    assert (await ask(api, "DELETE", "/v1/assistants/slow"))["state"] == "to_download"
    other.go_on.set()
    assert (await refusal(api, "GET", "/v1/assistants/slow"))[0] == 404
    assert (await refusal(api, "DELETE", "/v1/assistants/slow/download"))[0] == 404


async def test_a_few_downloads_at_once_and_no_more(api: Api, other: OtherServer) -> None:
    for number in range(4):
        await ask(api, "POST", IMPORT, {"url": other.url(f"/silent?{number}")})
    async with api.post(IMPORT, json={"url": other.url("/silent?4")}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "10")
    assert len((await ask(api, "GET", "/v1/assistants"))["data"]) == 5


async def test_an_assistant_that_is_not_here_cannot_answer(
    api: Api, other: OtherServer, thread: dict[str, Any]
) -> None:
    waiting = await ask(api, "POST", IMPORT, {"url": other.url("/assistant.json"), "download": False})
    path = f"/v1/threads/{thread['id']}/runs"
    status, error = await refusal(api, "POST", path, json={"assistant_id": waiting["id"], "model": "scripted"})
    assert (status, error["code"], error["param"]) == (400, "assistant_not_ready", "assistant_id")


async def test_what_is_here_or_never_had_a_url_is_not_downloaded(api: Api, other: OtherServer) -> None:
    assert (await refusal(api, "POST", "/v1/assistants/jan/download"))[0] == 400
    assert (await refusal(api, "POST", "/v1/assistants/nobody/download"))[0] == 404
    begun = await ask(api, "POST", IMPORT, {"url": other.url("/assistant.json")})
    await settled(api, begun["id"])
    status, error = await refusal(api, "POST", f"/v1/assistants/{begun['id']}/download")
    assert (status, error["code"]) == (400, "assistant_ready")
    status, error = await refusal(api, "POST", IMPORT, json={"url": other.url("/shakespeare.zip"), "id": begun["id"]})
    assert (status, error["code"]) == (409, "assistant_exists")


async def test_running_while_a_run_of_it_is_active(api: Api, thread: dict[str, Any]) -> None:
    path = f"/v1/threads/{thread['id']}/runs"
    run = await ask(api, "POST", path, {"assistant_id": "jan", "model": "scripted"})
    assert (await ask(api, "GET", "/v1/assistants/jan"))["state"] == "running"
    assert [item["state"] for item in (await ask(api, "GET", "/v1/assistants"))["data"]] == ["running"]
    await ask(api, "POST", f"{path}/{run['id']}/cancel")
    while (await ask(api, "GET", f"{path}/{run['id']}"))["status"] != "cancelled":
        pass
    assert (await ask(api, "GET", "/v1/assistants/jan"))["state"] == "ready"


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://files.test/a", "http://ok\\@127.0.0.1/", "http://a:b@files.test/", "", "x"),
        *("http://2130706433/", "http://0x7f.1/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest/"),
        *("http://127.0.0.1/", "http://localhost/", "http://[::1]:{port}/", "http://127.0.0.2:{port}/"),
    ],
)
async def test_hostile_urls_are_refused_at_once_and_leave_nothing(
    api: Api, other: OtherServer, storage_server: StorageServer, url: str
) -> None:
    for download in (True, False):
        body = {"url": url.replace("{port}", str(other.port)), "id": "evil", "download": download}
        async with api.post(IMPORT, json=body) as answer:
            error = (await answer.json())["error"]
            assert answer.status in (400, 403), error
            assert error["code"] in {"invalid_url", "downloads_off", "empty_string"}
    assert [path.name for path in (storage_server.janroot / "assistants").iterdir()] == ["jan"]
    assert other.connections == 0


async def test_a_model_that_came_along_answers_by_its_name_alone(api: Api, thread: dict[str, Any]) -> None:
    model = {"created": 1, "format": "gguf", "settings": {"llama_model_path": "a.gguf"}}
    files = {"bard/models/tuned/model.json": json.dumps(model).encode(), "bard/models/tuned/a.gguf": b"GGUF"}
    await send(api, zipped(folder("bard/", models=["*"]) | files))
    assert {item["id"] for item in (await ask(api, "GET", "/v1/models"))["data"]} >= {"scripted", "tuned"}
    path = f"/v1/threads/{thread['id']}/runs"
    run = await ask(api, "POST", path, {"assistant_id": "bard", "tools": []})
    assert run["model"] == "scripted"
    await ask(api, "POST", f"{path}/{run['id']}/cancel")
