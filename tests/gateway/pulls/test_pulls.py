"""A model from a plain HTTP server: fetched, checked, in its place; and what a client sees of that."""

from __future__ import annotations

import json

from tests.fixtures.tiny_models import tiny_gguf
from tests.gateway.pulls.conftest import Pulling, events

GGUF = tiny_gguf(200_000 // 128 * 128)


async def test_a_gguf_file_becomes_a_model(pulling: Pulling) -> None:
    pulling.host.add("/some/Tiny-Q4.gguf", GGUF)
    pull = await pulling.pull(f"{pulling.host.url}/some/Tiny-Q4.gguf?token=abc")
    assert (pull["state"], pull["model"], pull["error"]) == ("completed", "Tiny-Q4", None)
    assert (pull["bytes"], pull["total_bytes"]) == (len(GGUF), len(GGUF))
    assert "abc" not in json.dumps(pull)
    folder = pulling.models / "Tiny-Q4"
    assert sorted(path.name for path in folder.iterdir()) == ["Tiny-Q4.gguf", "model.json"]
    assert (folder / "Tiny-Q4.gguf").read_bytes() == GGUF
    model = json.loads((folder / "model.json").read_text())
    assert (model["engine"], model["format"], model["version"]) == ("llamacpp", "gguf", "1.0")
    assert model["settings"] == {"llama_model_path": "Tiny-Q4.gguf", "ctx_len": 2048}
    assert model["sources"] == [{"filename": "Tiny-Q4.gguf", "url": f"{pulling.host.url}/some/Tiny-Q4.gguf"}]
    assert model["metadata"]["size"] == len(GGUF)
    shown = await pulling.gateway.json("GET", "/v1/models/Tiny-Q4")
    assert (shown["state"], shown["error"]) == ("ready", None)
    assert pulling.left_over() == []


async def test_progress_is_told_as_it_happens(pulling: Pulling) -> None:
    file = pulling.host.add("/a.gguf", GGUF, hold_after=100_000)
    body = {"model": f"{pulling.host.url}/a.gguf", "id": "org/a", "name": "A", "stream": True}
    async with pulling.gateway.client.post("/v1/models/pull", json=body) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        await pulling.host.holding.wait()
        listed = {model["id"]: model for model in (await pulling.gateway.json("GET", "/v1/models"))["data"]}
        assert (listed["org/a"]["state"], listed["org/a"]["name"]) == ("downloading", "A")
        assert (await pulling.gateway.json("GET", "/v1/models/org/a"))["state"] == "downloading"
        pulling.host.go_on.set()
        told = events(await answer.text())
    assert file.hold_after is not None
    names = [name for name, _ in told]
    assert names[-2:] == ["model.pull.completed", ""]
    assert set(names[:-2]) == {"model.pull.progress"}
    assert told[-1][1] == "[DONE]"
    for _, progress in told[:-2]:
        assert progress.keys() == {"id", "state", "files", "bytes", "total_bytes", "bytes_per_second", "eta_seconds"}
        assert progress["files"] == [{"name": "a.gguf", "bytes": progress["bytes"], "total_bytes": len(GGUF)}]
    assert told[-2][1]["model"] == "org/a"
    assert (pulling.models / "org" / "a" / "model.json").exists()


async def test_a_download_goes_on_when_its_reader_leaves(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, hold_after=100_000)
    body = {"model": f"{pulling.host.url}/a.gguf", "stream": True}
    async with pulling.gateway.client.post("/v1/models/pull", json=body) as answer:
        await answer.content.readline()
        await pulling.host.holding.wait()
    pulling.host.go_on.set()
    (pull,) = (await pulling.gateway.json("GET", "/v1/models/pull"))["data"]
    assert (await pulling.end(pull))["state"] == "completed"


async def test_a_gateway_that_ends_lets_those_go_who_watch(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, hold_after=100_000)
    pull = await pulling.begin(f"{pulling.host.url}/a.gguf")
    async with pulling.gateway.client.get(f"/v1/models/pull/{pull['id']}/events") as answer:
        await pulling.host.holding.wait()
        await pulling.gateway.app.shutdown()
        assert b"[DONE]" not in await answer.read()


async def test_a_model_that_is_here_is_not_downloaded_again(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF)
    url = f"{pulling.host.url}/a.gguf"
    await pulling.pull(url)
    error = await pulling.gateway.json("POST", "/v1/models/pull", {"model": url}, status=409)
    assert error["error"]["code"] == "model_exists"


async def test_the_same_download_is_one_download(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, hold_after=100_000)
    url = f"{pulling.host.url}/a.gguf"
    first = await pulling.begin(url)
    await pulling.host.holding.wait()
    assert (await pulling.begin(url))["id"] == first["id"]
    pulling.host.add("/b.gguf", GGUF)
    other = {"model": f"{pulling.host.url}/b.gguf", "id": "a"}
    assert (await pulling.gateway.json("POST", "/v1/models/pull", other, status=409))["error"]["code"] == "pull_running"
    pulling.host.go_on.set()
    assert (await pulling.end(first))["state"] == "completed"


async def test_cancelling_leaves_no_file(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, hold_after=100_000)
    pull = await pulling.begin(f"{pulling.host.url}/a.gguf")
    await pulling.host.holding.wait()
    cancelled = await pulling.gateway.json("DELETE", f"/v1/models/pull/{pull['id']}")
    assert cancelled["state"] == "cancelled"
    assert pulling.left_over() == []
    assert not (pulling.models / "a").exists()
    async with pulling.gateway.client.get(f"/v1/models/pull/{pull['id']}/events") as answer:
        told = events(await answer.text())
    assert [name for name, _ in told] == ["error", ""]
    assert told[0][1]["error"]["code"] == "pull_cancelled"
    assert [model["id"] for model in (await pulling.gateway.json("GET", "/v1/models"))["data"]] == []
    again = await pulling.begin(f"{pulling.host.url}/a.gguf")
    by_cortex = await pulling.gateway.json("DELETE", "/v1/models/pull", {"taskId": again["id"]})
    assert (by_cortex["id"], by_cortex["state"]) == (again["id"], "cancelled")
    record = f"/v1/models/pull/{again['id']}"
    assert (await pulling.gateway.json("DELETE", record))["state"] == "cancelled"  # and forgotten
    assert (await pulling.gateway.json("GET", record, status=404))["error"]["code"] == "pull_not_found"
    assert [one["id"] for one in (await pulling.gateway.json("GET", "/v1/models/pull"))["data"]] == [pull["id"]]


async def test_what_a_url_asks_besides_is_kept_nowhere(pulling: Pulling) -> None:
    """Readers of models and backups see `sources`; a key in a URL was said for this download alone."""
    pulling.host.add("/a.gguf", tiny_gguf(2**16))
    secrets = "auth=hunter2&pass=hunter2&st=hunter2&hmac=hunter2&X=hunter2"
    pull = await pulling.pull(f"{pulling.host.url}/a.gguf?download=true&{secrets}#hunter2")
    assert pull["state"] == "completed"
    assert "hunter2" not in json.dumps(pull)
    model = json.loads((pulling.models / "a" / "model.json").read_text())
    assert model["sources"] == [{"filename": "a.gguf", "url": f"{pulling.host.url}/a.gguf?download=true"}]
    kept = [path for path in pulling.storage.janroot.rglob("*.json") if "hunter2" in path.read_text()]
    assert kept == []
