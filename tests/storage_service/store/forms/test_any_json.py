"""Whatever JSON a file holds, reading it makes a record and no exception, and a change of nothing changes nothing."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from jan.ids import AssistantId, ModelId, ThreadId
from storage_service.servicers import assistants as assistant_servicer
from storage_service.servicers import messages as message_servicer
from storage_service.servicers import models as model_servicer
from storage_service.servicers import threads as thread_servicer
from storage_service.store.forms import assistants, drafts, messages, models, threads, yaml_models

_KEYS = st.sampled_from(
    [
        *("id", "title", "summary", "assistants", "assistant_id", "name", "model", "models", "model_id", "settings"),
        *("parameters", "metadata", "messages", "content", "role", "created", "updated", "created_at", "order", "text"),
        *("type", "value", "annotations", "attachments", "status", "completed_at", "sources", "source", "source_url"),
        *("filename", "url", "llama_model_path", "ctx_len", "format", "engine", "files", "model_path", "stop", "tools"),
    ]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "jan", "*", "N/A", "image", "pdf", "text", "threads/x/files/a.png", "../a", "C:\\a", "17"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5), max_leaves=20
)
_OBJECTS = st.dictionaries(_KEYS, _JSON, max_size=8)
THREAD = ThreadId("jan_1704504633")
MADE_MS = 1_704_504_633_000


@settings(max_examples=40)
@given(raw=_OBJECTS)
def test_thread(raw: dict[str, Any]) -> None:
    thread = threads.from_json(THREAD, raw, MADE_MS)
    thread_servicer.to_proto(thread)
    assert threads.change(raw, thread, thread) == raw


@settings(max_examples=40)
@given(raw=_OBJECTS)
def test_flat_thread(raw: dict[str, Any]) -> None:
    lines = drafts.message_lines(THREAD, raw, MADE_MS)
    for line in lines:
        message_id = messages.id_of(line)
        assert message_id is not None
        message_servicer.to_proto(messages.from_json(THREAD, message_id, line, MADE_MS))
    file = drafts.thread_file(raw, threads.from_json(THREAD, raw, MADE_MS))
    assert {key for key in raw if key not in file} <= {"messages"}
    # What was read of the flat file is read of the folder that it becomes.
    before = threads.from_json(THREAD, raw, MADE_MS)
    after = threads.from_json(THREAD, orjson.loads(orjson.dumps(drafts.thread_file(raw, before))), MADE_MS)
    assert (after.title, after.metadata) == (before.title, before.metadata)
    assert after.created_ms == before.created_ms or before.created_ms <= 1e11


@settings(max_examples=40)
@given(raw=_OBJECTS)
def test_message(raw: dict[str, Any]) -> None:
    message_id = messages.id_of(raw | {"role": "user", "content": raw.get("content")})
    assert message_id is not None
    message = messages.from_json(THREAD, message_id, raw, MADE_MS)
    message_servicer.to_proto(message)
    assert messages.change(raw, message, message, 5) == raw | {"updated": 5}


@settings(max_examples=40)
@given(raw=_OBJECTS)
def test_assistant(raw: dict[str, Any]) -> None:
    assistant = assistants.from_json(AssistantId("jan"), raw, MADE_MS)
    assistant_servicer.to_proto(assistant)
    assert assistants.change(raw, assistant, assistant) == raw


@settings(max_examples=40)
@given(raw=_OBJECTS, engine=st.sampled_from(["", "llamacpp", "mlx"]))
def test_model(raw: dict[str, Any], engine: str) -> None:
    for described in (raw, yaml_models.to_model_json(raw, engine)):
        model = models.from_json(ModelId("a/b"), described, MADE_MS, "models/a", {"a.gguf"})
        model_servicer.to_proto(model)
        assert all(map(models.stays_inside, model.files))
