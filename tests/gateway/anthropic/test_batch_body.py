"""The body of a batch of messages, however it is cut into pieces, however large, and whatever is wrong with it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import ClientResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.anthropic import batch_body
from gateway.anthropic.batch_body import _Cutter
from gateway.http.body import MAX_JSON_BYTES
from tests.fixtures.gateway import Gateway

BATCHES = "/v1/messages/batches"
TEXTS = st.text() | st.sampled_from(['"', "\\", '\\"', "[{", "]},", '"requests":['])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
ASKED: Any = {"custom_id": "a", "params": {"model": "nobody"}}


def cut(data: bytes, sizes: Iterator[int]) -> tuple[list[bytes], bytes]:
    """The items, and the frame."""
    items: list[bytes] = []
    cutter, at = _Cutter(), 0
    while at < len(data):
        size = next(sizes)
        items += cutter.feed(data[at : at + size])
        at += size
    return items, cutter.frame()


@settings(max_examples=50)
@given(
    requests=st.lists(VALUES, max_size=4),
    before=st.dictionaries(TEXTS, VALUES, max_size=2),
    behind=st.dictionaries(TEXTS, VALUES, max_size=2),
    indent=st.sampled_from([None, 0, 2]),
    data=st.data(),
)
def test_items_are_found_in_pieces_of_any_size(
    requests: list[Any], before: dict[str, Any], behind: dict[str, Any], indent: int | None, data: st.DataObject
) -> None:
    body = {**before, "requests": requests, **{name: one for name, one in behind.items() if name not in before}}
    text = json.dumps(body, indent=indent, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    sizes = iter(lambda: data.draw(st.integers(1, 40)), 0)
    items, frame = cut(text, sizes)
    assert [json.loads(item) for item in items] == requests
    assert json.loads(frame) == body | {"requests": []}


async def send(gateway: Gateway, data: bytes, content_type: str = "application/json") -> ClientResponse:
    answer = await gateway.client.post(BATCHES, data=io.BytesIO(data), headers={"Content-Type": content_type})
    await answer.read()
    return answer


async def refusal(gateway: Gateway, data: bytes, status: int = 400) -> tuple[str, str]:
    """What is answered, having seen that nothing is left."""
    answer = await send(gateway, data)
    assert answer.status == status
    for path in (BATCHES, "/v1/files"):
        assert (await gateway.json("GET", path))["data"] == []
    error = (await answer.json())["error"]
    return error["type"], error["message"]


async def test_it_may_be_larger_than_any_other_body(gateway: Gateway) -> None:
    text = "word " * (2 * 1024 * 1024 // 5)
    requests = [{"custom_id": f"a{number}", "params": {"model": "nobody", "text": text}} for number in range(17)]
    data = json.dumps({"requests": requests}).encode()
    assert len(data) > MAX_JSON_BYTES
    answer = await send(gateway, data)
    assert (answer.status, (await answer.json())["request_counts"]["processing"]) == (200, 17)
    [file] = (await gateway.json("GET", "/v1/files?purpose=batch"))["data"]
    async with gateway.client.get(f"/v1/files/{file['id']}/content") as kept:
        lines = [json.loads(line) for line in (await kept.read()).splitlines()]
    assert [{"custom_id": line["custom_id"], "params": line["body"]} for line in lines] == requests


async def test_the_name_of_the_list_may_be_written_with_escapes(gateway: Gateway) -> None:
    data = b'{"\\u0072equests": [%b]}' % json.dumps(ASKED).encode()
    answer = await send(gateway, data)
    assert (await answer.json())["request_counts"]["processing"] == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"requests": [A,]}', "requests.1: We could not parse"),
        ('{"requests": [,A]}', "requests.0: We could not parse"),
        ('{"requests": [A A]}', "requests.0: We could not parse"),
        ('{"requests": [A, {"custom_id": "b", "custom_id": "c"}]}', "requests.1: We could not parse"),
        ('{"requests": [A, {"custom_id": "b", "params": {"a": NaN}}]}', "requests.1: We could not parse"),
        ('{"requests": [A, 1]}', "requests.1"),
        ('{"requests": [A, A]}', "requests.1.custom_id"),
        ('{"requests": [A, {"custom_id": "b", "params": 1}]}', "requests.1.params"),
        ('{"requests": [A, {"custom_id": "b", "params": {}, "more": 1}]}', "Unknown parameter: 'requests.1.more'"),
        ('{"requests": [A', "We could not parse"),
        ('{"requests": [A]', "We could not parse"),
        ('{"requests": [A}', "We could not parse"),
        ('{"requests": [A]]', "We could not parse"),
        ('{"requests": [A]} {}', "We could not parse"),
        ('{"requests": [A], "requests": [A]}', "custom_id"),
        ('{"requests": [A], "requests": []}', "We could not parse"),
        ('{"\\"requests": [A]}', "Unknown parameter"),
        ('["requests": [A]]', "We could not parse"),
        ('[{"requests": [A]}]', "must be an object"),
        ('{"requests": {"requests": [A]}}', "requests"),
        ('{"requests": [A], "more": [1]}', "Unknown parameter: 'more'"),
        ('{"requests": [A], "user_profile_id": "x"}', "user_profile_id"),
        ("", "Missing required parameter: 'requests'"),
    ],
)
async def test_what_is_wrong_is_named_and_leaves_nothing(gateway: Gateway, text: str, named: str) -> None:
    kind, message = await refusal(gateway, text.replace("A", json.dumps(ASKED)).encode())
    assert kind == "invalid_request_error"
    assert named in message


async def test_its_bounds(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_body, "MAX_REQUESTS", 2)
    monkeypatch.setattr(batch_body, "MAX_LINE_BYTES", 300_000)
    monkeypatch.setattr(batch_body, "MAX_BATCH_BYTES", 1_000_000)
    three = [ASKED | {"custom_id": name} for name in "abc"]
    assert "at most 2 requests" in (await refusal(gateway, json.dumps({"requests": three}).encode()))[1]
    long = ASKED | {"params": {"text": "x" * 900_000}}
    _, told = await refusal(gateway, json.dumps({"requests": [ASKED | {"custom_id": "b"}, long]}).encode())
    assert told == "requests.1: A request may hold at most 300000 bytes."
    assert "beside 'requests'" in (await refusal(gateway, json.dumps({"more": "x" * 100_000}).encode()))[1]
    whole = json.dumps({"requests": [], "more": "x" * 1_000_000}).encode()
    assert (await refusal(gateway, whole, 413))[0] == "request_too_large"


async def test_it_must_say_that_it_is_json(gateway: Gateway) -> None:
    assert (await send(gateway, json.dumps({"requests": [ASKED]}).encode(), "text/plain")).status == 415


async def test_sent_again_it_is_one_batch(gateway: Gateway) -> None:
    bodies: list[Any] = []
    for custom_id, status in (("a", 200), ("a", 200), ("b", 422)):
        requests = {"requests": [ASKED | {"custom_id": custom_id}]}
        headers = {"Idempotency-Key": "once", "Content-Type": "application/json"}
        async with gateway.client.post(BATCHES, json=requests, headers=headers) as answer:
            assert answer.status == status
            bodies.append(await answer.json())
    assert bodies[0] == bodies[1]
    assert [one["id"] for one in (await gateway.json("GET", BATCHES))["data"]] == [bodies[0]["id"]]
