"""thread.json of each generation, from the facts collected about Jan."""

from __future__ import annotations

import json
from dataclasses import replace

from jan.ids import AssistantId, ThreadId
from storage_service.store.forms import threads as form
from storage_service.store.records import Thread, ThreadAssistant, ThreadModel

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


def test_what_is_said_of_several_models_is_read_and_changed() -> None:
    raw = json.loads(V04) | {
        "models": ["bare", {"name": "m2", "parameters": {"top_p": 1}, "state": "ready"}, 7, {"id": "m3"}]
    }
    thread = form.from_json(ThreadId("t"), raw, 0)
    assert thread.models == (ThreadModel("bare"), ThreadModel("m2", {}, {"top_p": 1}), ThreadModel("m3"))
    # The model that `assistants` names is not changed by what stands in `models`.
    assert thread.assistants == read(V04).assistants
    after = replace(thread, models=(ThreadModel("m2", {}, {"top_p": 0}), ThreadModel("new")))
    changed = form.change(raw, thread, after)
    m2 = {"name": "m2", "id": "m2", "state": "ready", "settings": {}, "parameters": {"top_p": 0}}
    assert changed == raw | {"models": [m2, 7, {"id": "new", "settings": {}, "parameters": {}}]}
    assert form.from_json(ThreadId("t"), changed, 0) == after
    assert "models" not in form.change(json.loads(V04), read(V04), read(V04))


def test_an_open_model_stays_open_beside_what_is_said_of_others() -> None:
    open_model = {"assistant_id": "jan", "model": {"id": "*", "settings": {}, "parameters": {}}}
    raw = {"assistants": [open_model], "models": [{"id": "m", "parameters": {"top_p": 1}}]}
    [assistant] = form.from_json(ThreadId("t"), raw, 0).assistants
    assert (assistant.model_id, assistant.parameters) == ("", {})


def test_no_change_changes_nothing() -> None:
    for text in (V04, V06):
        raw = json.loads(text)
        assert form.change(raw, read(text), read(text)) == raw
