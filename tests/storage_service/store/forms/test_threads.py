"""thread.json of each generation, from the facts collected about Jan."""

from __future__ import annotations

import json

from jan.ids import AssistantId, ThreadId
from storage_service.store.forms import threads as form
from storage_service.store.records import Thread, ThreadAssistant

V04 = """{"id":"jan_1704504633","object":"thread","title":"Trip budget",
 "assistants":[{"assistant_id":"jan","assistant_name":"Jan","tools":[{"type":"retrieval","enabled":false}],
   "model":{"id":"demo-7b-q4","settings":{"ctx_len":4096},"parameters":{"temperature":0.7},"engine":"nitro"},
   "instructions":"Answer briefly."}],
 "created":1704504633123,"updated":1704504711456,"metadata":{"lastMessage":"Around 900 EUR."}}"""
V06 = """{"id":"8d3f0a52","object":"thread","title":"Trip budget","model":{"id":"demo-7b-q4","provider":"llamacpp"},
 "assistants":[{"id":"jan","name":"Jan","instructions":"Answer briefly.","model":{"id":"demo-7b-q4"}}],
 "metadata":{"is_favorite":true,"order":1},"order":1,"isFavorite":true,"created":1752200101.2,"updated":1752200145.9}"""


def read(text: str) -> Thread:
    return form.from_json(ThreadId("t"), json.loads(text), made_ms=1000)


def test_jan_04() -> None:
    assert read(V04) == Thread(
        id=ThreadId("t"),
        created_ms=1704504633123,
        updated_ms=1704504711456,
        title="Trip budget",
        assistants=(
            ThreadAssistant(
                AssistantId("jan"),
                "Jan",
                "Answer briefly.",
                "demo-7b-q4",
                {"ctx_len": 4096},
                {"temperature": 0.7},
            ),
        ),
        metadata={"lastMessage": "Around 900 EUR."},
    )


def test_jan_06() -> None:
    thread = read(V06)
    assert (thread.created_ms, thread.updated_ms) == (1752200101200, 1752200145900)
    [assistant] = thread.assistants
    assert (assistant.assistant_id, assistant.assistant_name, assistant.model_id) == ("jan", "Jan", "demo-7b-q4")


def test_an_empty_object_is_a_thread() -> None:
    assert read("{}") == Thread(ThreadId("t"), 1000, 1000)


def test_what_is_written_is_read_back() -> None:
    thread = read(V04)
    assert form.from_json(ThreadId("t"), form.to_json(thread), 0) == thread


def test_no_change_changes_nothing() -> None:
    for text in (V04, V06):
        raw = json.loads(text)
        assert form.change(raw, read(text), read(text)) == raw
