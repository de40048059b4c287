"""A gateway is restarted under OpenAI's client: the client's own retries bridge it, and nothing is made twice."""

from __future__ import annotations

import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import pytest
from openai import DefaultHttpxClient, OpenAI

from tests.fixtures.stack import Stack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
]
TRIES = 10
"""More than the client's own two: a process may take its time on a busy machine."""
EXIT_SECONDS = 30


@dataclass(frozen=True)
class Made:
    """What somebody made, by id; name: of the thread."""

    name: str
    thread: str
    message: str
    run: str


class Person:
    """Somebody who asks with the stock client, and gives each request a key of its own."""

    def __init__(self, stack: Stack) -> None:
        self.sent = threading.Semaphore(0)
        """Counts each sending of a request."""
        http = DefaultHttpxClient(event_hooks={"request": [lambda _: self.sent.release()]})
        self._api = OpenAI(base_url=f"{stack.url}/v1", api_key="unused", max_retries=TRIES, http_client=http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    def make(self) -> Made:
        """Make a thread, put a message into it, and run it."""
        name, threads = str(uuid.uuid4()), self._api.beta.threads
        thread = threads.create(metadata={"name": name}, extra_headers=_key())
        message = threads.messages.create(
            thread.id, role="user", content="Name the capital of France.", extra_headers=_key()
        )
        run = threads.runs.create(thread.id, assistant_id="jan", temperature=0, extra_headers=_key())
        return Made(name, thread.id, message.id, run.id)


def _key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def test_a_restart_of_the_gateway_is_bridged_and_makes_nothing_twice(stack: Stack) -> None:
    gateway = stack.processes["gateway"]
    with Person(stack) as before, Person(stack) as meanwhile, Person(stack) as after, ThreadPoolExecutor() as pool:
        making = [pool.submit(before.make)]
        before.sent.acquire()
        gateway.send_signal(signal.SIGTERM)
        making.append(pool.submit(meanwhile.make))
        assert gateway.wait(timeout=EXIT_SECONDS) == 0, stack.logs()
        making.append(pool.submit(after.make))
        for _ in range(2):  # the first sending is refused, as nobody listens
            after.sent.acquire()
        stack.start("gateway")
        made = [one.result() for one in making]
    stack.until_ready()
    for one in made:
        check(stack, one)


def check(stack: Stack, made: Made) -> None:
    """There is one of each, and the run ends with one answer."""
    client = stack.client
    threads = client.beta.threads
    newest: Any = client.get("/threads?limit=100", cast_to=object)
    assert [each["id"] for each in newest["data"] if each["metadata"].get("name") == made.name] == [made.thread]
    assert [run.id for run in threads.runs.list(made.thread)] == [made.run]
    run = threads.runs.poll(made.run, thread_id=made.thread, poll_interval_ms=50)
    assert run.status == "completed"
    asked, answer = threads.messages.list(made.thread, order="asc")
    assert (asked.id, asked.role) == (made.message, "user")
    assert (answer.role, answer.run_id) == ("assistant", made.run)
