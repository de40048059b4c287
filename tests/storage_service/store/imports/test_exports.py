"""Whole export files: both products, wrapped lists, damage beside what is sound, and any JSON at all."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jan.ids import MessageFileId, MessageId, ThreadId
from storage_service.servicers import messages as message_servicer
from storage_service.store import jsonl
from storage_service.store.forms import messages as form
from storage_service.store.imports.archive_files import ArchiveFiles, file_name
from storage_service.store.imports.conversations import ORIGINAL_FILE, Conversation, Unreadable
from storage_service.store.imports.draft import Source
from storage_service.store.imports.exports import read
from tests.fixtures.exports import block, chatgpt, claude, linear, node, said
from tests.storage_service.store.imports.reading import MADE_MS, converted, lines, losses, only

SOURCE = Source(ArchiveFiles(["file-a1.png", "x/0a1b2c3d-1111-4222-8333-444455556666.pdf"]), MADE_MS)
GPT = chatgpt(*linear(node("a", None), node("b", None, "assistant")))
CLAUDE = claude(said("q", "human", block("Hi")))


def test_conversations_of_both_products_may_stand_side_by_side() -> None:
    assert [type(found) for found in converted(GPT, CLAUDE)] == [Conversation, Conversation]


@pytest.mark.parametrize("wrapped", [{"conversations": [GPT, CLAUDE]}, {"conversations": [GPT, CLAUDE], "account": {}}])
def test_the_list_may_be_wrapped(wrapped: dict[str, Any]) -> None:
    found = list(read([orjson.dumps(wrapped)], SOURCE))
    assert [item.id for item in found if isinstance(item, Conversation)] == [only(GPT).id, only(CLAUDE).id]


def test_one_conversation_alone_is_an_export_too() -> None:
    [found] = read([orjson.dumps(GPT)], SOURCE)
    assert found == only(GPT)


def test_what_is_no_conversation_is_told_and_harms_nobody() -> None:
    sound = orjson.dumps(GPT)
    data = (
        b"[" + b",".join([sound, b'{"mapping":{', b'"x":}}', b"{}", b"[1]", b"null", orjson.dumps(CLAUDE)]) + b', {"m'
    )
    found = list(read([data], SOURCE))
    assert [item.data if isinstance(item, Unreadable) else item.title for item in found] == [
        "Trip budget",
        b'{"mapping":{,"x":}}',
        b"{}",
        b"[1]",
        b"null",
        "Trip budget",
        b'{"m',
    ]


def test_text_that_no_text_can_hold_is_mended_and_the_original_kept() -> None:
    data = orjson.dumps([GPT]).replace(b"a says", b"a\\ud800\\u0000 says")
    [found] = read([data], SOURCE)
    assert isinstance(found, Conversation)
    assert lines(found)[0] == ("user", ["a\ufffd\ufffd\ufffd\ufffd says"])
    assert losses(found) == {"mended_text": 1}
    assert b"\\ud800" in found.files[0].data


def test_ten_thousand_messages_are_no_trouble() -> None:
    nodes = linear(*(node(f"n{i}", None, "assistant" if i % 2 else "user", second=i) for i in range(10_000)))
    found = only(chatgpt(*nodes))
    assert (len(found.messages), found.notes) == (10_000, ())
    found = only(claude(*(said(f"m{i}", "human", block("x")) for i in range(10_000))))
    assert len(found.messages) == 10_000


_WORDS = st.sampled_from(
    [
        *("mapping", "chat_messages", "conversations", "current_node", "title", "name", "create_time", "created_at"),
        *("message", "parent", "children", "author", "role", "content", "content_type", "parts", "text", "metadata"),
        *("attachments", "files", "file_name", "extracted_content", "asset_pointer", "thoughts", "summary", "language"),
        *("uuid", "sender", "type", "thinking", "input", "citations", "url", "details", "id", "weight", "recipient"),
        *("content_references", "matched_text", "alt", "items", "finish_details", "parent_message_uuid", "updated_at"),
    ]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["user", "assistant", "tool", "system", "human", "text", "code", "multimodal_text", "thoughts"])
    | st.sampled_from(["tool_use", "tool_result", "thinking", "n0", "n1", "n2", "file-service://file-a1", "all", ""])
    | st.sampled_from(["image_asset_pointer", "2025-01-04T14:00:00Z", "\ue200x\ue201", "../a", "execution_output"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=5), max_leaves=25
)
_OBJECTS = st.dictionaries(_WORDS, _JSON, max_size=6)
_NODES = st.dictionaries(st.sampled_from(["n0", "n1", "n2", "n3"]), _OBJECTS | _JSON, max_size=4)
_CONTENTS = st.fixed_dictionaries({}, optional={"content_type": _SCALARS, "parts": st.lists(_JSON, max_size=3)})
_MESSAGES = st.fixed_dictionaries(
    {"author": st.fixed_dictionaries({"role": _SCALARS}) | _JSON, "content": _CONTENTS | _OBJECTS},
    optional={"metadata": _OBJECTS, "create_time": _SCALARS, "id": _SCALARS, "recipient": _SCALARS, "weight": _SCALARS},
)
_TREES = st.dictionaries(
    st.sampled_from(["n0", "n1", "n2", "n3"]),
    st.fixed_dictionaries({"message": _MESSAGES | _JSON, "parent": st.sampled_from(["n0", "n1", None]) | _JSON}),
    max_size=4,
)
_GPT = st.fixed_dictionaries(
    {"mapping": _TREES | _NODES}, optional={"current_node": _JSON, "title": _JSON, "id": _JSON}
)
_CLAUDE = st.fixed_dictionaries(
    {
        "chat_messages": st.lists(
            st.fixed_dictionaries(
                {"sender": _SCALARS, "content": st.lists(_OBJECTS, max_size=3) | _JSON},
                optional={
                    "uuid": _SCALARS,
                    "parent_message_uuid": _SCALARS,
                    "attachments": st.lists(_OBJECTS, max_size=2),
                },
            )
            | _JSON,
            max_size=4,
        )
    },
    optional={"name": _JSON, "created_at": _SCALARS, "uuid": _JSON},
)


@settings(max_examples=150)
@given(values=st.lists(_GPT | _CLAUDE | _JSON, max_size=3))
def test_whatever_json_it_holds_a_record_comes_of_it(values: list[Any]) -> None:
    data = orjson.dumps(values)
    found = list(read([data], SOURCE))
    assert found == list(read([data], SOURCE))
    for item in found:
        if isinstance(item, Conversation):
            _is_sound(item)


def _is_sound(found: Conversation) -> None:
    """Ids are safe and each message's own, times in order, lines short enough, and losses come with the original."""
    assert ThreadId.parse(found.id) == found.id
    assert all(MessageId.parse(message.id) == message.id for message in found.messages)
    assert len({message.id for message in found.messages}) == len(found.messages)
    times = [message.created_ms for message in found.messages]
    assert times == sorted(times)
    assert 0 < found.created_ms <= found.updated_ms
    for file in found.files:
        assert MessageFileId.parse(file.name) == file.name
        assert bool(file.entry) != bool(file.data)
    assert bool(found.notes) == (ORIGINAL_FILE in {file.name for file in found.files})
    placed = {file.name for file in found.files}
    for message in found.messages:
        line = jsonl.encode(form.to_json(message))
        assert len(line) < jsonl.MAX_LINE_BYTES
        read_back = form.from_json(found.id, message.id, orjson.loads(line), message.created_ms)
        message_servicer.to_proto(read_back)
        assert {item["file_id"] for item in read_back.attachments} <= placed


@settings(max_examples=100)
@given(file_id=st.text(max_size=200), given_name=st.text(max_size=300), stored=st.text(max_size=20))
def test_a_file_has_a_safe_name(file_id: str, given_name: str, stored: str) -> None:
    name = file_name(file_id, given_name, "image/png", stored)
    assert MessageFileId.parse(name) == name
