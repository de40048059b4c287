"""The stock SDKs' own retries against the real stack: they wait where they are told to, and nothing is done twice.

Each is a person of its own, with a model of its own; the queue takes one waiting request of each.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.clients import programs
from tests.clients.between import Passed, standing_between
from tests.clients.engine import SAID, ServedEngine, serving
from tests.fixtures.gateway import write_model
from tests.fixtures.stack import TEST_SECONDS, Stack

CLIENTS = ("openai", "openai-1", "node")
CHATS = "/v1/chat/completions"
THREADS = "/v1/threads"
# Two while the queue stays full, and then one before it gets room.
REFUSALS = 3

pytestmark = [
    pytest.mark.clients,
    pytest.mark.timeout(TEST_SECONDS),
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
]


@dataclass(frozen=True)
class Saw:
    """What a client told, what it sent on the way, and what the engine was asked in all."""

    told: dict[str, Any]
    passed: list[Passed]
    asked: Counter[str]
    api: OpenAI

    def part(self, name: str) -> Any:
        """What one part of the script saw."""
        assert "seen" in self.told[name], self.told[name]["failed"]
        return self.told[name]["seen"]

    def sent(self, path: str, method: str = "POST") -> list[tuple[int, int]]:
        """The requests to a path: which sending of it that was, and what it was answered."""
        return [(one.retry, one.status) for one in self.passed if (one.method, one.path) == (method, path)]

    def threads(self, part: str) -> list[str]:
        """The ids of the threads that this client made in one part of the script."""
        listed: Any = self.api.get("/threads?limit=100", cast_to=object)
        name = {"by": self.api.api_key, "is": part}
        return [thread["id"] for thread in listed["data"] if thread["metadata"] == name]


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Saw]]:
    """All clients at once, so that their waits pass beside each other."""
    with tempfile.TemporaryDirectory(prefix="jan-retry-") as folder, ExitStack() as open_:
        stack = Stack(Path(folder), {"JANROOT_MAX_QUEUED_PER_PERSON": "1"}, is_overheard=True)
        engines = {client: open_.enter_context(serving()) for client in CLIENTS}
        for client, engine in engines.items():
            write_model(stack.janroot, client, sources=[{"url": engine.url}], settings={"n_parallel": 1})
        stack.start_all()
        open_.callback(stack.stop_all)
        with ThreadPoolExecutor(len(CLIENTS)) as pool:
            looking = {client: pool.submit(look, stack, client, engine) for client, engine in engines.items()}
            yield {client: one.result() for client, one in looking.items()}


@pytest.fixture(params=CLIENTS)
def saw(seen: dict[str, Saw], request: pytest.FixtureRequest) -> Saw:
    return seen[request.param]


def test_a_queue_that_stays_full_is_an_error_of_the_sdk(saw: Saw) -> None:
    assert saw.part("full_to_the_end") == {
        "class": "RateLimitError",
        "status": 429,
        "code": "rate_limit_exceeded",
        "param": None,
        "request_id": True,
    }
    assert saw.sent(CHATS)[:2] == [(0, 429), (1, 429)]
    assert saw.asked["Is there room?"] == 0


def test_a_queue_that_gets_room_is_waited_for(saw: Saw) -> None:
    assert saw.part("full_for_a_while")["said"].strip() == SAID
    assert saw.sent(CHATS)[2:4] == [(0, 429), (1, 200)]
    assert saw.asked[f"Is there room now, asks {saw.api.api_key}?"] == 1


def test_what_is_wrong_is_sent_once(saw: Saw) -> None:
    failed = saw.part("wrong")
    assert {part: (error["status"], error["code"]) for part, error in failed.items()} == {
        "parameter": (400, "decimal_above_max_value"),
        "thread": (404, None),
        "role": (400, "invalid_value"),
        "key": (422, "idempotency_key_reused"),
    }
    assert saw.sent(CHATS)[4:] == [(0, 400)]
    assert saw.sent(f"{THREADS}/thread_unknown", "GET") == [(0, 404)]
    [thread_id] = saw.threads("first")
    assert saw.sent(f"{THREADS}/{thread_id}/messages") == [(0, 400)]
    assert [status for _, status in saw.sent(THREADS)].count(422) == 1


def test_without_a_key_a_lost_answer_makes_a_second_thread(saw: Saw) -> None:
    assert saw.part("lost_without_a_key")["thread"] in saw.threads("without")
    assert len(saw.threads("without")) == 2


def test_with_a_key_a_lost_answer_is_had_again(saw: Saw) -> None:
    assert saw.threads("with") == [saw.part("lost_with_a_key")["thread"]]


def test_the_sdks_make_keys_of_their_own_when_they_are_told_the_headers_name(saw: Saw) -> None:
    made = saw.part("lost_with_the_clients_keys")
    thread = f"{THREADS}/{made['thread']}"
    assert saw.threads("careful") == [made["thread"]]
    assert saw.sent(f"{thread}/messages") == saw.sent(f"{thread}/runs") == [(0, 200), (1, 200)]
    listed = list(saw.api.beta.threads.messages.list(made["thread"], order="asc"))
    assert [(one.role, one.run_id) for one in listed] == [("user", None), ("assistant", made["run"])]
    assert listed[0].id == made["message"]
    assert [run.id for run in saw.api.beta.threads.runs.list(made["thread"])] == [made["run"]]
    assert made["status"] == "completed"


def look(stack: Stack, client: str, served: ServedEngine) -> Saw:
    """Fill the queue of a person with the client's name, and run its script; there is room after its third refusal."""
    api = stack.client.with_options(api_key=client)
    chat(api, "How fast is it?")  # from now on the queue knows
    let_go = served.hold()
    with ThreadPoolExecutor(2) as pool, standing_between(stack.url) as between:
        before = [fill(pool, api, "running"), fill(pool, api, "queued")]

        def make_room() -> None:
            let_go()
            for one in before:
                one.result()

        between.when(429, times=REFUSALS, then=make_room)
        home = stack.folder / f"home-{client}"
        home.mkdir()
        told = programs.run(
            client, "openai_retries", url=between.url, folder=home, OPENAI_API_KEY=client, JANROOT_CALLS=client
        )
    return Saw(told, between.passed, Counter(str(body["messages"][-1]["content"]) for body in served.requests), api)


def fill(pool: ThreadPoolExecutor, api: OpenAI, state: str) -> Future[None]:
    """Have one more request in the queue, the newest of its person; returns when it is in that state."""
    asked = pool.submit(chat, api, "Filling")
    while True:
        queue: Any = api.get("/queue", cast_to=object)
        if queue["data"] and queue["data"][-1]["state"] == state:
            return asked


def chat(api: OpenAI, text: str) -> None:
    """Ask the model that has the person's name."""
    api.chat.completions.create(model=api.api_key, messages=[{"role": "user", "content": text}])
