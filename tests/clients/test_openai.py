"""The stock SDKs: the newest for Python, the last 1.x, and the one for Node. They see the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.conftest import Seen

pytestmark = [pytest.mark.clients, pytest.mark.engine]
PARIS = "The capital of France is Paris."
ANSWER = [
    "thread.run.in_progress",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
]


@pytest.fixture(params=["openai", "openai-1", "node"])
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_polled_run(seen: Seen, client: str) -> None:
    assert seen(client, "openai_assistants", "polled") == {
        "name": "Teacher",
        "status": "completed",
        "roles": ["user", "assistant"],
        "said": PARIS,
        "tokens": 8,
        "listed": True,
        "deleted": [True, True],
    }


def test_a_run_streamed_into_a_handler(seen: Seen, client: str) -> None:
    saw = seen(client, "openai_assistants", "streamed")
    assert saw["events"] == ["thread.run.created", "thread.run.queued", *ANSWER]
    assert saw["status"] == "completed"
    assert saw["said"] == saw["final"] == saw["stored"] == PARIS


def test_a_polled_run_that_calls(seen: Seen, client: str) -> None:
    saw = seen(client, "openai_assistants", "tools_polled")
    assert saw["statuses"] == ["requires_action", "completed"]
    assert (saw["called"], saw["output"]) == ("weather", "Sunny.")
    assert saw["city"] in {"Paris", "Rome"}
    assert saw["said"]


def test_a_streamed_run_that_calls(seen: Seen, client: str) -> None:
    saw = seen(client, "openai_assistants", "tools_streamed")
    assert saw["events"] == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.delta",
        "thread.run.requires_action",
        # The outputs are sent; of the second stream each kind once, where it is heard first.
        "thread.run.step.completed",
        "thread.run.queued",
        *[event for event in ANSWER if event != "thread.run.step.completed"],
    ]
    assert saw["whole"]
    assert saw["said"] == saw["stored"] != ""


def test_files_are_searched_in_a_run(seen: Seen, client: str) -> None:
    saw = seen(client, "openai_assistants", "file_search")
    assert (saw["added"], saw["deleted"]) == ("completed", [True, True])
    assert saw["status"] in {"completed", "incomplete"}
    assert saw["found"] == ["tomatoes.md"]
    assert saw["hits"] == ["# Tomatoes\n\nPlant tomatoes in the middle of May."]


def test_a_chat_whole_and_streamed(seen: Seen, client: str) -> None:
    whole = seen(client, "openai_chat", "whole")
    assert (whole["said"], whole["reason"], whole["tokens"]) == (PARIS, "stop", 8)
    assert whole["request_id"].startswith("req_")
    assert seen(client, "openai_chat", "streamed") == {"said": PARIS, "final": PARIS, "tokens": 8}


def test_an_answer_is_parsed(seen: Seen, client: str) -> None:
    assert seen(client, "openai_chat", "parsed")["city"] in {"Paris", "Rome"}
    assert seen(client, "openai_responses", "parsed")["city"] in {"Paris", "Rome"}


def test_a_function_is_called_in_a_stream_and_answered(seen: Seen, client: str) -> None:
    saw = seen(client, "openai_chat", "tools")
    assert (saw["reason"], saw["called"], saw["keys"]) == ("stop", "tell_capital", ["city"])
    assert saw["deltas"] > 1
    assert saw["said"]


def test_a_chat_is_stored(seen: Seen, client: str) -> None:
    assert seen(client, "openai_chat", "stored") == {"same": True, "deleted": True}


def test_a_text_is_gone_on_with(seen: Seen, client: str) -> None:
    assert seen(client, "openai_chat", "completion")["said"]


def test_embeddings_come_packed_and_plain(seen: Seen, client: str) -> None:
    saw = seen(client, "openai_chat", "embeddings")
    assert saw["dimensions"] == [576, 576]
    assert saw["apart"] < 1e-4


def test_models(seen: Seen, client: str) -> None:
    assert seen(client, "openai_chat", "models") == {"listed": True, "object": "model"}


def test_errors_have_the_sdks_classes(seen: Seen, client: str) -> None:
    def error(class_: str, status: int, code: str | None, param: str | None) -> dict[str, Any]:
        return {"class": class_, "status": status, "code": code, "param": param, "request_id": True}

    assert seen(client, "openai_chat", "errors") == {
        "model": error("NotFoundError", 404, "model_not_found", "model"),
        "parameter": error("BadRequestError", 400, "decimal_above_max_value", "temperature"),
        "context": error("BadRequestError", 400, "context_length_exceeded", "messages"),
        "thread": error("NotFoundError", 404, None, None),
        "response": error("NotFoundError", 404, None, None),
        "left_out": error("NotFoundError", 404, "unsupported_endpoint", None),
    }


def test_a_reader_who_leaves_frees_its_place(seen: Seen) -> None:
    saw = seen("node", "openai_chat", "aborted")
    assert saw["chunks"] >= 3
    assert saw["at_work"] == 0


def test_a_response_is_streamed_and_gone_on_with(seen: Seen, client: str) -> None:
    saw = seen(client, "openai_responses", "streamed")
    assert saw["said"] == saw["final"] == saw["stored"] == PARIS
    assert saw["numbered"]
    assert saw["previous"]
    assert saw["after"]


def test_a_conversation_with_a_call(seen: Seen, client: str) -> None:
    saw = seen(client, "openai_responses", "conversation")
    assert saw["called"] == "weather"
    assert saw["city"] in {"Paris", "Rome"}
    assert saw["items"] == ["message", "function_call", "function_call_output", "message"]
    assert saw["deleted"]


def test_a_response_in_the_background(seen: Seen, client: str) -> None:
    assert seen(client, "openai_responses", "in_background") == {"first": "queued", "last": "completed", "said": PARIS}


def test_files_are_searched_for_a_response(seen: Seen, client: str) -> None:
    events = ["in_progress", "searching", "completed"]
    assert seen(client, "openai_responses", "file_search") == {
        "heard": [f"response.file_search_call.{event}" for event in events],
        "items": ["file_search_call", "message"],
        "queries": True,
        "hidden": True,
        "found": ["# Tomatoes\n\nPlant tomatoes in the middle of May."],
        "said": True,
        "deleted": True,
    }


def test_files(seen: Seen, client: str) -> None:
    assert seen(client, "openai_files", "files") == {
        "name": "plan für Rom.bin",
        "bytes": 25600,
        "status": "processed",
        "listed": True,
        "same": True,
        "deleted": True,
    }


def test_an_upload_in_parts(seen: Seen, client: str) -> None:
    assert seen(client, "openai_files", "upload_in_parts") == {"status": "completed", "same": True}


def test_a_vector_store(seen: Seen, client: str) -> None:
    assert seen(client, "openai_files", "vector_store") == {
        "status": "completed",
        "completed": 2,
        "best": "roses.md",
        "count": 2,
    }


def test_a_batch(seen: Seen, client: str) -> None:
    assert seen(client, "openai_files", "batch") == {
        "status": "completed",
        "completed": 3,
        "answered": ["request-0", "request-1", "request-2"],
        "listed": True,
    }
