"""Every process may be killed; the next request works after its restart, and accepted work ends."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.fixtures.stack import MODEL, SERVICES, Stack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
]


def ask(stack: Stack) -> None:
    messages: Any = [{"role": "user", "content": "Say hello."}]
    assert stack.client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8).choices


def new_thread(stack: Stack) -> str:
    return stack.client.beta.threads.create(messages=[{"role": "user", "content": "Say hello."}]).id


@pytest.mark.parametrize("name", ["redis", *SERVICES])
def test_the_next_request_works_after_a_kill(stack: Stack, name: str) -> None:
    thread_id = new_thread(stack)
    ask(stack)
    stack.kill(name)
    stack.start(name)
    stack.until_ready()
    ask(stack)
    run = stack.client.beta.threads.runs.create_and_poll(
        thread_id=thread_id, assistant_id="jan", max_completion_tokens=256
    )
    assert run.status in {"completed", "incomplete"}


@pytest.mark.parametrize("name", ["redis", *SERVICES])
def test_an_accepted_run_ends_although_a_process_is_killed_under_it(stack: Stack, name: str) -> None:
    client = stack.client
    thread_id = new_thread(stack)
    run = client.beta.threads.runs.create(thread_id=thread_id, assistant_id="jan", max_completion_tokens=256)
    stack.kill(name)
    stack.start(name)
    stack.until_ready()
    ended = client.beta.threads.runs.poll(run.id, thread_id=thread_id, poll_interval_ms=50)
    assert ended.status in {"completed", "incomplete", "failed"}
    roles = [message.role for message in client.beta.threads.messages.list(thread_id, order="asc")]
    assert roles in (["user"], ["user", "assistant"])


def test_a_killed_inference_service_leaves_no_engine_behind(stack: Stack) -> None:
    ask(stack)
    service = psutil.Process(stack.processes["inference_service"].pid)
    engines = service.children(recursive=True)
    assert engines
    stack.kill("inference_service")
    _, alive = psutil.wait_procs(engines, timeout=10)
    stack.start("inference_service")
    stack.until_ready()
    assert alive == []


def test_a_killed_engine_comes_back(stack: Stack) -> None:
    ask(stack)
    [engine, *_] = psutil.Process(stack.processes["inference_service"].pid).children()
    engine.send_signal(signal.SIGKILL)
    engine.wait(timeout=10)
    ask(stack)


def kill_engine(stack: Stack) -> None:
    for engine in psutil.Process(stack.processes["inference_service"].pid).children():
        engine.kill()


def kill_service(stack: Stack) -> None:
    stack.kill("inference_service")
    stack.start("inference_service")


@pytest.mark.parametrize("kill", [kill_engine, kill_service])
def test_a_stream_goes_on_although_what_writes_it_is_killed(stack: Stack, kill: Callable[[Stack], None]) -> None:
    """The client's one request ends as if nothing had happened: no error, the role once, all tokens counted."""
    messages: Any = [{"role": "user", "content": "Tell a long story of a river and its town."}]
    stream = stack.client.chat.completions.create(
        model=MODEL,
        messages=messages,
        max_tokens=120,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = []
    for chunk in stream:
        chunks.append(chunk)
        if len(chunks) == 10:
            kill(stack)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert [choice.delta.role for choice in choices if choice.delta.role] == ["assistant"]
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["length"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 120
    assert chunks[-1].usage.prompt_tokens < 60  # what was said before the kill is no prompt
    begun = "".join(choice.delta.content or "" for choice in choices[:10])
    assert "".join(choice.delta.content or "" for choice in choices).count(begun) == 1
    stack.until_ready()


def test_what_cannot_be_served_is_said_with_when_to_try_again(stack: Stack) -> None:
    stack.kill("storage_service")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{stack.url}/v1/threads", timeout=30)
    stack.start("storage_service")
    stack.until_ready()
    with raised.value as error:
        assert (error.status, error.headers["Retry-After"]) == (503, "1")
