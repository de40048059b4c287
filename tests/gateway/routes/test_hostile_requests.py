"""What strangers send to the object routes: never a 5xx, always OpenAI's error object."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from yarl import URL

from tests.fixtures.gateway import Gateway
from tests.gateway.client import Api, ask, refusal

HOSTILE_IDS = [
    "..%2Fx",
    "..%2f..%2fetc",
    "%2e%2e%2fetc%2fpasswd",
    "%2Fetc%2Fpasswd",
    "%00",
    "jan_1%00",
    "CON",
    "lpt1.txt",
    "%20",
    ".",
    "...",
    ".hidden",
    "a%5Cb",
    "%0d%0aX-Evil:%201",
    "%ff%fe",
    "%ED%A0%80",
    "%F0%9F%A4%96",
    "%25%32%65",
    "{}",
    "x" * 4000,
]
# The kind that a bad id in a path's place `{}` is not found as.
PLACES = [
    ("/v1/assistants/{}", "assistant"),
    ("/v1/threads/{}", "thread"),
    ("/v1/threads/{}/messages/msg_1", "thread"),
    ("/v1/threads/jan_1/messages/{}", "message"),
]


@pytest.mark.parametrize(("place", "kind"), PLACES)
async def test_what_cannot_be_an_id_is_not_found(api: Api, place: str, kind: str) -> None:
    for method, hostile in itertools.product(["GET", "POST", "DELETE"], HOSTILE_IDS):
        url = URL(place.replace("{}", hostile), encoded=True)
        status, error = await refusal(api, method, url)
        # A few are rewritten or refused by HTTP itself before any route sees them.
        if error["code"] not in {"unknown_url", "method_not_allowed"}:
            assert (status, error["message"].split(" id ")[0]) == (404, f"No {kind} found with")
        assert len(error["message"]) < 400
        assert error["message"].isprintable()


async def test_an_id_of_legal_letters_is_repeated_at_most_in_part(api: Api) -> None:
    for (place, kind), length in itertools.product(PLACES, [100, 4000]):
        _, error = await refusal(api, "GET", place.format("x" * length))
        assert error["message"] in {f"No {kind} found with id '{'x' * 64}'.", "No thread found with id 'jan_1'."}


async def test_a_path_that_climbs_ends_nowhere(gateway: Gateway) -> None:
    for path in ("/v1/assistants/../../../../etc/passwd", "/v1/threads/../x", "/v1/models/../../etc", "//etc"):
        answer = await raw_get(gateway, path)
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b'"type":"invalid_request_error"' in answer


async def raw_get(gateway: Gateway, path: str) -> bytes:
    """A GET of exactly this path; clients would tidy it up."""
    url = URL(gateway.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {url.authority}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


JSON = {"Content-Type": "application/json"}
HOSTILE_BODIES = [
    b"{",
    b"nul",
    b"[]",
    b'["model"]',
    b'"text"',
    b"null",
    b"5",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b'{"model":"\xff"}',
    b'{"metadata":' + b"[" * 50_000,
    b'{"metadata":' + b'{"a":' * 50_000,
    b'{"temperature":NaN}',
    b'{"metadata":{"a":Infinity}}',
    b'{"metadata":{"a":1e999}}',
    b'{"metadata":{"a":' + b"9" * 5000 + b"}}",
    b'{"metadata":{},"metadata":{}}',
    b'{"metadata":{"a":"\\ud800"}}',
    b'{"metadata":{"a":"\\udc00\\ud800"}}',
    b'{"metadata":{"a":"\x00"}}',
    b'{"metadata":[]}',
    b"{'metadata':{}}",
    b'{"metadata":{}} x',
]
BODY_ROUTES = [
    "/v1/assistants",
    "/v1/assistants/jan",
    "/v1/threads",
    "/v1/threads/{thread}",
    "/v1/threads/{thread}/messages",
    "/v1/threads/{thread}/messages/{message}",
]


async def filled(api: Api, path: str) -> str:
    """The path with the ids of a thread and a message that exist."""
    thread = (await ask(api, "POST", "/v1/threads", {}))["id"]
    message = (await ask(api, "POST", f"/v1/threads/{thread}/messages", {"role": "user", "content": "Hi"}))["id"]
    return path.format(thread=thread, message=message)


@pytest.mark.parametrize("route", BODY_ROUTES)
async def test_what_is_no_strict_json_object_is_refused(api: Api, route: str) -> None:
    path = await filled(api, route)
    for body in HOSTILE_BODIES:
        status, _ = await refusal(api, "POST", path, data=body, headers=JSON)
        assert status == 400, body[:60]


@pytest.mark.parametrize("route", BODY_ROUTES)
async def test_only_json_is_taken(api: Api, route: str) -> None:
    path = await filled(api, route)
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        status, error = await refusal(api, "POST", path, data=b"{}", headers={"Content-Type": content_type})
        assert (status, error["code"]) == (415, "unsupported_media_type")


SCHEMA_WITH_A_HUGE_NUMBER = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"maximum": 2**70}}}
TEXT_WITH_A_HUGE_NUMBER = {"type": "text", "text": {"value": "Hi", "annotations": [{"n": 2**70}]}}
DEEP: Any = json.loads('{"a":' * 150 + "1" + "}" * 150)


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/v1/assistants", {"model": "m", "parameters": DEEP}),
        ("/v1/assistants", {"model": "m", "tools": [{"type": "retrieval", "settings": DEEP, "__class__": 1}]}),
        ("/v1/assistants/jan", {"tool_resources": {"surprise": DEEP}}),
        ("/v1/threads", {"assistants": [{"model": {"settings": DEEP, "parameters": DEEP}}]}),
    ],
)
async def test_open_ended_values_may_nest(api: Api, route: str, body: dict[str, Any]) -> None:
    made = await ask(api, "POST", route, body)
    assert await ask(api, "GET", f"{route.removesuffix('/jan')}/{made['id']}") == made


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [
        ("/v1/assistants", {"model": "m", "parameters": {"text": "x" * 1_100_000}}, "parameters"),
        ("/v1/assistants/jan", {"tools": [{"type": "retrieval", "settings": {"n": -(2**70)}}]}, None),
        ("/v1/assistants", {"model": "m", "response_format": SCHEMA_WITH_A_HUGE_NUMBER}, None),
        ("/v1/threads", {"messages": [{"role": "user", "content": [TEXT_WITH_A_HUGE_NUMBER]}]}, None),
        ("/v1/threads/{thread}", {"tool_resources": {"text": "x" * 1_100_000}}, "tool_resources"),
        ("/v1/threads", {"assistants": [{"model": {"settings": {"n": 2**64}}}]}, None),
        ("/v1/assistants", {"model": "m", "name": "a\0b"}, "name"),
        ("/v1/threads", {"title": "a\0b"}, "title"),
        ("/v1/threads", {"messages": [{"role": "user", "content": "a\0b"}]}, "messages[0].content[0].text.value"),
    ],
)
async def test_what_no_file_or_engine_can_hold_is_refused(
    api: Api, route: str, body: dict[str, Any], param: str | None
) -> None:
    status, error = await refusal(api, "POST", await filled(api, route), json=body)
    assert (status, error["param"]) == (400, param)


@pytest.mark.slow
async def test_a_message_larger_than_a_line_is_refused(api: Api) -> None:
    path = await filled(api, "/v1/threads/{thread}/messages")
    status, _ = await refusal(api, "POST", path, json={"role": "user", "content": "x" * (17 * 1024 * 1024)})
    assert status == 413


@pytest.mark.parametrize("route", ["/v1/assistants", "/v1/threads", "/v1/threads/{thread}/messages"])
async def test_a_hostile_cursor_is_refused(api: Api, route: str) -> None:
    path = await filled(api, route)
    for name, cursor in itertools.product(["after", "before"], ["../x", "\0", "x" * 4000, "CON"]):
        status, _ = await refusal(api, "GET", path, params={name: cursor})
        assert status == 400
