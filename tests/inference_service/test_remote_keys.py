"""Keys go to the origin that they are kept for, and nowhere else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from inference_service.engines.client import EngineClient
from inference_service.engines.openai import OpenAiEngine
from inference_service.remote_keys import RemoteKeys
from inference_service.settings import InferenceSettings
from jan.errors import FailedPreconditionError, InvalidArgumentError
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.settings import SettingsError

KEY = "sk-secret-0123456789"


@asynccontextmanager
async def server(status: int, location: str = "") -> AsyncIterator[tuple[str, list[str | None]]]:
    """A server that refuses everything and repeats the key; its URL, and the keys that it was sent."""
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        key = request.headers.get("Authorization")
        seen.append(key)
        headers = {"Location": location} if location else None
        return web.json_response({"error": {"message": f"Bad request with {key}"}}, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", seen
    finally:
        await runner.cleanup()


def engine(url: str, keys: RemoteKeys) -> OpenAiEngine:
    return OpenAiEngine(ModelSpec(id="remote", engine="openai", source_url=url), keys)


async def ask(remote: OpenAiEngine) -> None:
    async with EngineClient(await remote.start()) as client, client.chat({"messages": []}):
        pass


async def test_a_key_goes_to_its_own_origin_and_to_no_other() -> None:
    async with server(400) as (own, seen), server(400) as (other, elsewhere):
        keys = RemoteKeys({own: KEY})
        for url in (own, other):
            with pytest.raises(InvalidArgumentError):
                await ask(engine(url, keys))
    assert (seen, elsewhere) == ([f"Bearer {KEY}"], [None])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with server(200) as (other, elsewhere), server(status, f"{other}/chat/completions") as (own, seen):
        with pytest.raises(FailedPreconditionError, match=rf"answered {status} .* redirects are not followed"):
            await ask(engine(own, RemoteKeys({own: KEY, other: KEY})))
    assert (len(seen), elsewhere) == (1, [])


@pytest.mark.parametrize(("status", "error_type"), [(400, InvalidArgumentError), (401, FailedPreconditionError)])
async def test_a_key_that_the_server_repeats_is_neither_told_nor_logged(
    status: int,
    error_type: type[InvalidArgumentError | FailedPreconditionError],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with server(status) as (url, _):
        with pytest.raises(error_type) as caught:
            await ask(engine(url, RemoteKeys({url: KEY})))
    assert KEY not in caught.value.message
    assert KEY not in caplog.text + "".join(capsys.readouterr())


async def test_a_key_is_not_in_what_is_printed_of_its_holders() -> None:
    keys = RemoteKeys({"https://api.example.com": KEY})
    connection = await engine("https://api.example.com/v1", keys).start()
    assert KEY in connection.headers["Authorization"]
    environment = {"JANROOT_REMOTE_KEYS": json.dumps({"https://a.example": KEY})}
    settings = await asyncio.to_thread(InferenceSettings.from_environment, environment)
    assert KEY not in f"{keys!r} {connection!r} {settings!r}"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://api.example.com/v1", True),
        ("https://API.example.com:443/other", True),
        ("http://api.example.com/v1", False),
        ("https://api.example.com:8443/v1", False),
        ("https://api.example.com.evil.example/v1", False),
        ("https://evil.example/api.example.com", False),
        ("https://sub.api.example.com/v1", False),
    ],
)
def test_scheme_host_and_port_make_an_origin(url: str, found: bool) -> None:
    assert (RemoteKeys({"https://api.example.com": KEY}).for_url(url) == KEY) is found


def test_a_name_and_a_password_in_a_url_are_refused() -> None:
    with pytest.raises(FailedPreconditionError, match="base URL"):
        engine("https://api.example.com@evil.example/v1", RemoteKeys())


def test_keys_come_from_a_file_outside_of_the_janroot(tmp_path: Path) -> None:
    janroot = tmp_path / "janroot"
    janroot.mkdir()
    for folder, refused in ((tmp_path, False), (janroot, True)):
        file = folder / "keys.json"
        file.write_text(json.dumps({"https://api.example.com": KEY}))
        environment = {"JANROOT_PATH": str(janroot), "JANROOT_REMOTE_KEYS": str(file)}
        if refused:
            with pytest.raises(SettingsError, match="in the janroot"):
                InferenceSettings.from_environment(environment)
        else:
            keys = InferenceSettings.from_environment(environment).remote_keys
            assert keys.for_url("https://api.example.com/v1") == KEY


@pytest.mark.parametrize(
    "value",
    [
        *("/nowhere.json", "{", '{"api.example.com": "k"}', '{"ftp://a": "k"}', '{"https://u:p@a": "k"}'),
        *('{"https://a": ""}', '{"https://a": 5}', '{"https://a": "a\\nb"}', '{"https://a:x": "k"}'),
    ],
)
def test_what_cannot_be_used_is_told_without_repeating_it(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^JANROOT_REMOTE_KEYS ") as caught:
        InferenceSettings.from_environment({"JANROOT_REMOTE_KEYS": value})
    assert value not in str(caught.value)
