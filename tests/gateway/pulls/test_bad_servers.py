"""Servers that cut, lie, change their mind and lead astray: the model comes whole all the same, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from gateway.keys import PULLS
from gateway.pulls.transfer import Patience
from tests.fixtures.model_host import ModelHost
from tests.fixtures.tiny_models import tiny_gguf
from tests.gateway.pulls.conftest import Pulling

GGUF = tiny_gguf(2**22)
OTHER = tiny_gguf(2**22, seed=1)


async def refused(pulling: Pulling, **body: Any) -> dict[str, Any]:
    """What the server says of a download that it does not begin; nothing is left of it."""
    async with pulling.gateway.client.post("/v1/models/pull", json=body) as answer:
        assert 400 <= answer.status < 600, await answer.text()
        error: dict[str, Any] = (await answer.json())["error"]
    assert (await pulling.gateway.json("GET", "/v1/models/pull"))["data"] == []
    assert list(pulling.pulls.iterdir()) == []
    return error | {"status": answer.status}


def is_here(pulling: Pulling, data: bytes = GGUF) -> bool:
    return (pulling.models / "a" / "a.gguf").read_bytes() == data and pulling.left_over() == []


async def test_a_cut_line_goes_on_where_it_was_cut(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, cuts=3, cut_after=2**20)
    assert (await pulling.pull(f"{pulling.host.url}/a.gguf"))["state"] == "completed"
    assert is_here(pulling)
    asked = [headers.get("range") for _, headers in pulling.host.requests]
    assert asked == ["bytes=0-3", None, *(f"bytes={n}-" for n in (2**20, 2**21, 3 * 2**20))]
    assert [headers.get("if-range") for _, headers in pulling.host.requests[2:]] == ['"1"'] * 3
    assert pulling.host.sent_bytes["/a.gguf"] == len(GGUF) + 4


async def test_a_server_that_knows_no_parts_is_asked_for_all_of_it_again(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, cuts=1, cut_after=2**20, knows_parts=False)
    assert (await pulling.pull(f"{pulling.host.url}/a.gguf"))["state"] == "completed"
    assert is_here(pulling)


async def test_a_file_that_changes_in_between_is_fetched_from_its_beginning(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, hold_after=2**20, cuts=1, cut_after=2**20 + 65536)
    pull = await pulling.begin(f"{pulling.host.url}/a.gguf")
    await pulling.host.holding.wait()
    pulling.host.add("/a.gguf", OTHER, etag='"2"')
    pulling.host.go_on.set()
    assert (await pulling.end(pull))["state"] == "completed"
    assert is_here(pulling, OTHER)


async def test_without_a_way_to_tell_states_apart_nothing_is_put_together(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, cuts=1, cut_after=2**20, etag="")
    assert (await pulling.pull(f"{pulling.host.url}/a.gguf"))["state"] == "completed"
    assert [headers.get("range") for _, headers in pulling.host.requests] == ["bytes=0-3", None, None]
    assert is_here(pulling)


@pytest.mark.parametrize("claims", [len(GGUF) - 128, len(GGUF) + 128])
async def test_a_server_that_lies_about_the_length(pulling: Pulling, claims: int) -> None:
    file = pulling.host.add("/a.gguf", GGUF, knows_parts=False)
    sources = [{"url": f"{pulling.host.url}/a.gguf", "sha256": file.sha256}]
    file.claims_bytes = claims
    pull = await pulling.pull(id="a", sources=sources)
    assert pull["state"] == "error"
    assert pull["error"]["code"] in ("download_corrupt", "download_cut_short")
    assert not (pulling.models / "a").exists()
    shown = await pulling.gateway.json("GET", "/v1/models/a")
    assert (shown["state"], shown["error"]) == ("error", pull["error"])


async def test_wrong_bytes_are_asked_for_once_more_and_then_given_up(pulling: Pulling) -> None:
    right = tiny_gguf(2**16)
    file = pulling.host.add("/a.gguf", tiny_gguf(2**16, seed=9))
    sources = [{"url": f"{pulling.host.url}/a.gguf", "sha256": pulling.host.add("/right", right).sha256}]
    pull = await pulling.pull(id="a", sources=sources)
    assert (pull["state"], pull["error"]["code"]) == ("error", "download_corrupt")
    assert "SHA-256" in pull["error"]["message"]
    assert pulling.left_over() == []
    file.data = right
    assert (await pulling.pull(id="a", sources=sources))["state"] == "completed"
    assert is_here(pulling, right)


async def test_a_header_that_lies_is_found_before_there_is_a_model(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF[:-4096])
    pull = await pulling.pull(f"{pulling.host.url}/a.gguf")
    assert (pull["state"], pull["error"]["code"]) == ("error", "model_file_invalid")
    assert "cut off" in pull["error"]["message"]
    assert pulling.left_over() == []
    assert not (pulling.models / "a").exists()


async def test_what_is_no_gguf_file_is_refused_before_it_is_fetched(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", b"<!doctype html>" * 100_000)
    error = await refused(pulling, model=f"{pulling.host.url}/a.gguf")
    assert (error["status"], error["code"]) == (400, "model_file_invalid")


@pytest.mark.parametrize("name", ["a.bin", "a.py", "model.pt", "a.gguf/../../x.gguf", "model.json", ".hidden.gguf"])
async def test_files_that_no_model_is_made_of(pulling: Pulling, name: str) -> None:
    pulling.host.add("/a.gguf", GGUF)
    url = f"{pulling.host.url}/a.gguf"
    error = await refused(pulling, id="a", sources=[{"url": url}, {"url": url, "filename": name}])
    assert (error["status"], error["code"]) in ((400, "model_file_invalid"), (400, "invalid_file_name"))


async def test_a_redirect_is_followed_and_the_token_stays_at_home(pulling: Pulling, host: ModelHost) -> None:
    host.add("/cdn/x", GGUF)
    host.add("/a.gguf", b"", leads_to="/b.gguf")
    host.add("/b.gguf", b"", leads_to=f"{host.url}/cdn/x")
    assert (await pulling.pull(f"{host.url}/a.gguf"))["state"] == "completed"
    assert is_here(pulling)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:9/inside",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/x",
        "http://2130706433/",
        "file:///etc/passwd",
        "http://user@127.0.0.1/x",
    ],
)
async def test_a_redirect_that_leads_astray_is_refused(pulling: Pulling, target: str) -> None:
    pulling.host.add("/a.gguf", b"", leads_to=target)
    error = await refused(pulling, model=f"{pulling.host.url}/a.gguf")
    assert error["code"] in ("downloads_off", "download_refused", "invalid_url")


async def test_redirects_without_end(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", b"", leads_to="/a.gguf")
    assert (await refused(pulling, model=f"{pulling.host.url}/a.gguf"))["code"] == "download_redirected"
    assert len(pulling.host.requests) == 6


async def test_a_server_that_stalls_is_left_and_asked_again(pulling: Pulling) -> None:
    pulling.gateway.app[PULLS].patience = Patience(first_seconds=0.01, stall_seconds=1.0)
    file = pulling.host.add("/a.gguf", GGUF, hold_after=2**20)
    pull = await pulling.begin(f"{pulling.host.url}/a.gguf")
    await pulling.host.holding.wait()
    file.hold_after = None
    assert (await pulling.end(pull))["state"] == "completed"
    assert is_here(pulling)
    assert len(pulling.host.requests) > 2


async def test_a_server_that_has_enough_for_now_is_asked_again(pulling: Pulling) -> None:
    file = pulling.host.add("/a.gguf", GGUF, hold_after=2**20, cuts=1, cut_after=2**20 + 65536)
    pull = await pulling.begin(f"{pulling.host.url}/a.gguf")
    await pulling.host.holding.wait()
    file.refusals, file.hold_after = 2, None
    pulling.host.go_on.set()
    assert (await pulling.end(pull))["state"] == "completed"
    assert file.refusals == 0
    assert is_here(pulling)


@pytest.mark.parametrize(("status", "code"), [(404, "download_failed"), (403, "download_denied")])
async def test_a_file_that_is_not_there(pulling: Pulling, status: int, code: str) -> None:
    pulling.host.add("/a.gguf", b"", status=status)
    assert (await refused(pulling, model=f"{pulling.host.url}/a.gguf"))["code"] == code


async def test_what_the_settings_forbid(pulling: Pulling) -> None:
    for model in ("http://127.0.0.1:9/a.gguf", "https://example.com/a.gguf"):
        error = await refused(pulling, model=model)
        assert (error["status"], error["code"]) == (403, "downloads_off")


@pytest.mark.parametrize("model", ["", "one", "a b/c", "../etc/passwd", "org/repo/more", "ftp://x/y.gguf", "x" * 3000])
async def test_what_names_no_model(pulling: Pulling, model: str) -> None:
    assert (await refused(pulling, model=model))["status"] == 400


async def test_parts_of_a_model_are_fetched_side_by_side(pulling: Pulling) -> None:
    for number in range(1, 7):
        pulling.host.add(f"/m-0000{number}-of-00006.gguf", tiny_gguf(2**16, seed=number), hold_after=1024)
    pull = await pulling.begin(f"{pulling.host.url}/m-00001-of-00006.gguf")
    while sum(count > 64 for count in pulling.host.sent_bytes.values()) < 4:
        await pulling.gateway.json("GET", f"/v1/models/pull/{pull['id']}")
    assert len([path for path, headers in pulling.host.requests if "range" not in headers]) == 4
    pulling.host.go_on.set()
    ended = await pulling.end(pull)
    assert (ended["state"], ended["model"], len(ended["files"])) == ("completed", "m", 6)
    model = json.loads((pulling.models / "m" / "model.json").read_text())
    assert model["settings"]["llama_model_path"] == "m-00001-of-00006.gguf"
    assert [source["filename"] for source in model["sources"]] == [f"m-0000{n}-of-00006.gguf" for n in range(1, 7)]


async def test_what_answers_404_is_named_without_what_was_asked_of_it(pulling: Pulling) -> None:
    error = await refused(pulling, model=f"{pulling.host.url}/none.gguf?key=hunter2")
    assert error["message"] == f"{pulling.host.url}/none.gguf answered 404."


async def test_a_server_that_knows_no_parts_and_stalls_is_given_up(pulling: Pulling) -> None:
    """Each time it gets as far as it did before: nothing is won by asking for ever."""
    pulling.gateway.app[PULLS].patience = Patience(max_failures=3, first_seconds=0.01, stall_seconds=0.5)
    pulling.host.add("/a.gguf", GGUF, hold_after=2**21 + 2**16, knows_parts=False)
    pull = await pulling.pull(f"{pulling.host.url}/a.gguf")
    assert (pull["state"], pull["error"]["code"]) == ("error", "download_too_slow")
    assert len(pulling.host.requests) == 1 + 3


async def test_a_server_that_knows_no_parts_and_gets_a_little_further_each_time_is_given_up(pulling: Pulling) -> None:
    pulling.gateway.app[PULLS].patience = Patience(first_seconds=0.01, max_restarts=2)
    file = pulling.host.add("/a.gguf", GGUF, cuts=100, cut_after=0, knows_parts=False)

    def further(_: web.Request) -> None:
        file.cut_after = min(max(len(pulling.host.requests) - 1, 1), 3) * 2**20

    pulling.host.hub = further
    pull = await pulling.pull(f"{pulling.host.url}/a.gguf")
    assert (pull["state"], pull["error"]["code"]) == ("error", "download_cut_short")
    assert len(pulling.host.requests) == 1 + 3
