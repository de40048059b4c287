"""`janroot models pull` and `cancel` against a real gateway that downloads from a server of this machine."""

from __future__ import annotations

import struct
from typing import Any

from tests.fixtures.engine_host import EngineHost
from tests.fixtures.gateway import write_model
from tests.fixtures.tiny_models import tiny_gguf
from tests.gateway.cli.test_model_sources import said, start
from tests.gateway.pulls.conftest import Pulling

GGUF = tiny_gguf(200_000 // 128 * 128)


async def test_a_model_is_pulled_and_a_second_time_is_refused(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF)
    url = f"{pulling.host.url}/a.gguf"
    assert await said(await start(pulling.gateway.url, "pull", url, "--id", "org/a")) == (
        *(0, f"org/a is here: {len(GGUF) / 1000:.0f} KB.\n"),
        "",
    )
    assert (pulling.models / "org/a/a.gguf").read_bytes() == GGUF
    code, _, complained = await said(await start(pulling.gateway.url, "pull", url, "--id", "org/a"))
    assert (code, complained.startswith("janroot: There is a model")) == (2, True)


async def test_a_download_under_way_is_not_deleted_but_cancelled(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, hold_after=100_000)
    pull = await pulling.begin(f"{pulling.host.url}/a.gguf")
    await pulling.host.holding.wait()
    hello = {"messages": [{"role": "user", "content": "Hello"}]}
    run = {"model": "a", "assistant_id": "jan"}
    thread = await pulling.gateway.json("POST", "/v1/threads", {})
    asked: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"model": "a", **hello},
        "/v1/models/a/start": {},
        "/v1/tokenize": {"model": "a", "prompt": "Hello"},
        "/v1/detokenize": {"model": "a", "tokens": [1]},
        f"/v1/threads/{thread['id']}/runs": run,
        "/v1/threads/runs": {**run, "thread": hello},
    }
    for path, body in asked.items():
        error = (await pulling.gateway.json("POST", path, body, status=400))["error"]
        assert error["code"] == "model_not_ready"
        assert error["message"].startswith("The model 'a' is being downloaded (")
    error = await pulling.gateway.json("DELETE", "/v1/models/a", status=409)
    assert (error["error"]["code"], pull["id"] in error["error"]["message"]) == ("model_downloading", True)
    assert await said(await start(pulling.gateway.url, "cancel", "a")) == (0, "a: cancelled.\n", "")
    pulling.host.go_on.set()
    assert (await pulling.end(pull))["state"] == "cancelled"
    assert (await pulling.gateway.json("DELETE", "/v1/models/a", status=404))["error"]["code"] == "model_not_found"


async def test_whether_it_would_fit_is_told_before_the_download(pulling: Pulling, engine_host: EngineHost) -> None:
    pulling.host.add("/a.gguf", GGUF)
    url = f"{pulling.host.url}/a.gguf"
    async with pulling.gateway.client.get("/v1/devices") as answer:  # a channel may still rest from an earlier test
        assert answer.status == 200
    code, told, complained = await said(await start(pulling.gateway.url, "fit", url, "--n-parallel", "2"))
    assert (code, told.startswith("It fits now: "), "for 2 requests of " in told, complained) == (0, True, True, "")
    assert " GiB for 2 requests" in told or " MiB for 2 requests" in told  # in one unit with the sentence before
    assert " MB" not in told
    assert "which is not counted" not in told
    other = GGUF.replace(struct.pack("<Q", 5) + b"llama", struct.pack("<Q", 5) + b"zzzzz", 1)
    pulling.host.add("/b.gguf", other)
    told = (await said(await start(pulling.gateway.url, "fit", f"{pulling.host.url}/b.gguf")))[1]
    assert "Its files do not tell the size of the KV cache, which is not counted" in told
    assert pulling.left_over() == []


async def test_a_model_at_rest_is_pulled_by_its_id(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF)
    sources = [{"filename": "m.gguf", "url": f"{pulling.host.url}/a.gguf"}]
    write_model(pulling.models.parent, "org/rest", engine="llamacpp", format="gguf", sources=sources)
    code, told, complained = await said(await start(pulling.gateway.url, "pull", "org/rest"))
    assert (code, told, complained) == (0, f"org/rest is here: {len(GGUF) / 1000:.0f} KB.\n", "")
    assert (pulling.models / "org/rest/m.gguf").read_bytes() == GGUF
