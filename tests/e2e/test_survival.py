"""Every process may be killed; the next request works after its restart, and accepted work ends."""

from __future__ import annotations

import signal
import time
import urllib.error
import urllib.request
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


def test_what_cannot_be_served_is_said_at_once(stack: Stack) -> None:
    stack.kill("storage_service")
    began = time.monotonic()
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{stack.url}/v1/threads", timeout=30)
    seconds = time.monotonic() - began
    stack.start("storage_service")
    stack.until_ready()
    with raised.value as error:
        assert (error.status, error.headers["Retry-After"]) == (503, "1")
    assert seconds < 2.5
