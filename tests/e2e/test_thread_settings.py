"""Threads with settings of their own, on the real demo model: each is answered as it is set, in turns."""

from __future__ import annotations

from typing import Any

import pytest
from openai import OpenAI
from openai.types.beta.threads import Run

from tests.fixtures.stack import MODEL, Stack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
]

LONG = "word " * 700


def new_thread(client: OpenAI, content: str, settings: dict[str, Any] | None = None) -> str:
    thread = client.beta.threads.create(messages=[{"role": "user", "content": content}])
    if settings is not None:
        path = f"/threads/{thread.id}/models/{MODEL}"
        shown: Any = client.post(path, body={"settings": settings}, cast_to=object)
        assert shown["not_applied"] == []
    return thread.id


def ask(client: OpenAI, thread_id: str) -> Run:
    return client.beta.threads.runs.create(
        thread_id, assistant_id="jan", model=MODEL, max_completion_tokens=256, temperature=0, top_p=0.1
    )


def ended(client: OpenAI, run: Run) -> Run:
    return client.beta.threads.runs.poll(run.id, thread_id=run.thread_id, poll_interval_ms=50)


def test_a_thread_with_a_short_context_refuses_what_another_answers(stack: Stack) -> None:
    client = stack.client
    short, own = new_thread(client, LONG, {"ctx_len": 512}), new_thread(client, LONG)
    runs = [ask(client, thread_id) for thread_id in (short, own)]
    refused, answered = (ended(client, run) for run in runs)
    assert refused.status == "failed"
    assert refused.last_error is not None
    assert refused.last_error.code == "invalid_prompt"
    assert refused.last_error.message.startswith("This model's maximum context length is 512 tokens. However, your")
    assert "resulted in 7" in refused.last_error.message
    assert answered.status in {"completed", "incomplete"}
    assert answered.usage is not None
    assert 700 < answered.usage.prompt_tokens < 800
    # Parameters reload nothing, and the same settings share what is loaded.
    again = ended(client, ask(client, own))
    assert again.status in {"completed", "incomplete"}


def test_a_threads_prompt_template_makes_another_prompt(stack: Stack) -> None:
    client = stack.client
    template = {"prompt_template": "{system_message}Q: {prompt}\nA:"}
    templated, own = new_thread(client, "Say hi.", template), new_thread(client, "Say hi.")
    tokens = []
    for thread_id in (templated, own):
        run = ended(client, ask(client, thread_id))
        assert run.status in {"completed", "incomplete"}, run.last_error
        assert run.usage is not None
        tokens.append(run.usage.prompt_tokens)
    assert tokens[0] < 12
    assert tokens[1] > 30  # its own template tells it who it is
