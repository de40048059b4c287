"""OpenAI's client sends again by itself what may succeed then, and nothing that cannot or might be done twice."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from blockbuster import BlockBuster

from gateway.keys import STORAGE
from jan.errors import (
    ConflictError,
    DeadlineExceededError,
    FailedPreconditionError,
    JanError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    ResourceExhaustedError,
    StorageFullError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnprocessableError,
)
from jan.queue.jobs import POISON
from jan.rpc_errors import OUTCOME_UNKNOWN
from tests.fixtures.gateway import Gateway
from tests.gateway.http.conftest import Waits, client_of

DAY = 24 * 3600
SENT_AGAIN: list[JanError] = [
    ResourceExhaustedError("Full for now.", retry_after_seconds=2),
    UnavailableError("Away for now.", retry_after_seconds=2),
    ConflictError("Somebody else writes it now.", retry_after_seconds=2),
]
SENT_ONCE: list[JanError] = [
    FailedPreconditionError("Busy."),
    UnauthenticatedError("Nobody's key."),
    PermissionDeniedError("Not yours."),
    NotFoundError("Nowhere."),
    PreconditionFailedError("Another one."),
    TooLargeError("Too large."),
    UnprocessableError("Another request."),
    ConflictError("There is one."),
    StorageFullError("No room."),
    ResourceExhaustedError("Never."),
    ResourceExhaustedError("Tomorrow.", retry_after_seconds=DAY),
    UnavailableError("Tomorrow.", retry_after_seconds=DAY),
    UnavailableError("Three workers died of it.", code=POISON),
    UnavailableError("Somebody cancelled it.", code="cancelled"),
    DeadlineExceededError("Ten minutes are over.", code="timeout"),
]
# May have been done.
IN_DOUBT: list[Exception] = [
    UnavailableError("It may have been done.", code=OUTCOME_UNKNOWN),
    DeadlineExceededError("It may be done yet.", retry_after_seconds=2),
    RuntimeError("Nobody foresaw this."),
]
TRIES = 3
"""Of a client that nobody told another number."""


class Failing:
    """A part of the server that fails like that, and counts how often."""

    def __init__(self, error: Exception) -> None:
        self.calls = 0
        self._error = error

    async def __call__(self, *_: object) -> Any:
        self.calls += 1
        raise self._error


@pytest.fixture(autouse=True)
def tracebacks(blockbuster: BlockBuster) -> None:
    """The log's traceback of what nobody foresaw looks for the lines of its sources."""
    blockbuster.deactivate()


@pytest.fixture
def waited(waits: Waits) -> list[float]:
    """How long the client would have waited."""

    async def nothing() -> None:
        return None

    return waits(nothing)


async def tries_to_make_a_thread(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, error: Exception, **headers: str
) -> int:
    """How often the client sends a POST that fails like that each time."""
    failing = Failing(error)
    monkeypatch.setattr(gateway.app[STORAGE], "create_thread", failing)
    async with client_of(gateway) as client:
        with pytest.raises(openai.APIStatusError):
            await client.beta.threads.create(extra_headers=headers)
    return failing.calls


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")
class TestMakingAThread:
    async def test_what_may_succeed_later_is_sent_again(
        self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, waited: list[float]
    ) -> None:
        for error in SENT_AGAIN:
            assert await tries_to_make_a_thread(gateway, monkeypatch, error) == TRIES, error
        assert waited == [2.0] * (TRIES - 1) * len(SENT_AGAIN)

    async def test_what_cannot_succeed_is_sent_once(
        self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, waited: list[float]
    ) -> None:
        for error in SENT_ONCE:
            for headers in ({}, {"Idempotency-Key": error.message}):
                assert await tries_to_make_a_thread(gateway, monkeypatch, error, **headers) == 1, error
        assert waited == []

    async def test_what_may_have_been_done_is_sent_again_only_where_its_key_makes_that_safe(
        self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, waited: list[float]
    ) -> None:
        for error in IN_DOUBT:
            assert await tries_to_make_a_thread(gateway, monkeypatch, error) == 1, error
            headers = {"Idempotency-Key": str(error)}
            assert await tries_to_make_a_thread(gateway, monkeypatch, error, **headers) == TRIES, error
        assert len(waited) == (TRIES - 1) * len(IN_DOUBT)

    async def test_reading_is_always_safe(
        self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, waited: list[float]
    ) -> None:
        async with client_of(gateway) as client:
            for error in IN_DOUBT:
                failing = Failing(error)
                monkeypatch.setattr(gateway.app[STORAGE], "get_thread", failing)
                with pytest.raises(openai.InternalServerError):
                    await client.beta.threads.retrieve("thread_x")
                assert failing.calls == TRIES, error
        assert len(waited) == (TRIES - 1) * len(IN_DOUBT)


@pytest.mark.parametrize(
    ("asked", "tries"),
    [
        (("/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}), TRIES),
        (("/responses", {"input": "Hi", "store": False}), TRIES),
        (("/responses/compact", {"input": "Hi"}), TRIES),
        (("/responses", {"input": "Hi"}), 1),
    ],
)
async def test_what_makes_nothing_is_asked_again_after_a_failure_that_nobody_foresaw(
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    waited: list[float],
    asked: tuple[str, dict[str, Any]],
    tries: int,
) -> None:
    path, fields = asked
    failing = Failing(RuntimeError("Nobody foresaw this."))
    monkeypatch.setattr(gateway.app[STORAGE], "get_model", failing)
    async with client_of(gateway) as client:
        with pytest.raises(openai.InternalServerError):
            await client.post(path, cast_to=object, body={"model": "scripted", **fields})
    assert failing.calls == tries
    assert len(waited) == tries - 1
