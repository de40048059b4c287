"""Jan's first ways to ask for a download: `POST /v1/models` and `GET /v1/models/download/{id}`."""

from __future__ import annotations

from tests.fixtures.gateway import write_model
from tests.fixtures.tiny_models import tiny_gguf
from tests.gateway.pulls.conftest import Pulling

GGUF = tiny_gguf(200_000 // 128 * 128)


def at_rest(pulling: Pulling, model_id: str) -> None:
    """A model.json whose file is still to come."""
    sources = [{"filename": "m.gguf", "url": f"{pulling.host.url}/a.gguf"}]
    write_model(pulling.models.parent, model_id, engine="llamacpp", format="gguf", sources=sources)


async def test_a_get_begins_a_download_once(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, hold_after=100_000)
    at_rest(pulling, "org/rest")
    begun = await pulling.gateway.json("GET", "/v1/models/download/org/rest?ignoreSSL=false")
    assert (begun["id"], begun["object"], begun["state"]) == ("org/rest", "model", "downloading")
    await pulling.host.holding.wait()
    again = await pulling.gateway.json("GET", "/v1/models/download/org%2Frest")
    assert (again["pull"], again["state"]) == (begun["pull"], "downloading")
    pulling.host.go_on.set()
    assert (await pulling.end({"id": begun["pull"]}))["state"] == "completed"
    assert (pulling.models / "org/rest/m.gguf").read_bytes() == GGUF
    here = await pulling.gateway.json("GET", "/v1/models/download/org/rest")
    assert (here["id"], here["state"]) == ("org/rest", "ready")


async def test_what_a_get_may_not_begin(pulling: Pulling) -> None:
    at_rest(pulling, "rest")
    path = "/v1/models/download/rest"
    for name in ("ignoreSSL=true", "proxy=http://evil.example"):
        error = (await pulling.gateway.json("GET", f"{path}?{name}", status=400))["error"]
        assert (error["param"], error["code"]) == (name.partition("=")[0], "unsupported_parameter")
    async with pulling.gateway.client.get(path, headers={"Sec-Fetch-Site": "cross-site"}) as answer:
        assert answer.status == 403
    async with pulling.gateway.client.head(path) as answer:
        assert answer.status == 404  # no HEAD of it
    unknown = await pulling.gateway.json("GET", "/v1/models/download/unknown", status=404)
    assert unknown["error"]["code"] == "model_not_found"
    assert (await pulling.gateway.json("GET", "/v1/models/pull"))["data"] == []


async def test_a_post_downloads_from_a_source_or_by_id(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF)
    at_rest(pulling, "rest")
    url = f"{pulling.host.url}/a.gguf"
    for body, model_id in (({"source_url": url, "id": "new"}, "new"), ({"id": "rest"}, "rest")):
        pull = await pulling.gateway.json("POST", "/v1/models", body, status=202)
        assert (pull["model"], (await pulling.end(pull))["state"]) == (model_id, "completed")
    error = (await pulling.gateway.json("POST", "/v1/models", {"id": "rest"}, status=409))["error"]
    assert error["code"] == "model_exists"
    await pulling.gateway.json("POST", "/v1/models", {"id": "unknown"}, status=404)
    await pulling.gateway.json("POST", "/v1/models", {}, status=400)
