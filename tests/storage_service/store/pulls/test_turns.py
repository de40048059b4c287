"""Calls for one download that come at one moment."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from jan.storage.v1 import pulls_pb2 as pb
from jan.type.v1.error_pb2 import ErrorDetail
from storage_service.access import Access
from storage_service.server import PULL_WORKERS
from storage_service.servicers.pulls import PullServicer
from storage_service.store.pulls.room import Room
from storage_service.store.store import Store
from tests.storage_service.store.pulls.test_pulls import GGUF, SHA256

CONTEXT: Any = None
BEGIN = pb.BeginPullRequest(
    model_id="org/a",
    source="t",
    model_json='{"id": "org/a", "engine": "llamacpp"}',
    files=[pb.PullFile(name="a.gguf", url="http://host/a.gguf", size_bytes=len(GGUF), sha256=SHA256)],
)


async def test_a_download_is_not_cancelled_in_the_middle_of_being_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await asyncio.to_thread(Store.open, tmp_path / "janroot")
    access = Access(lambda _error: None, PULL_WORKERS)
    servicer = PullServicer(access, store.pulls)
    pull_id = (await servicer.BeginPull(BEGIN, CONTEXT)).pull.id
    await servicer.ClaimPull(pb.ClaimPullRequest(pull_id=pull_id, holder="me"), CONTEXT)
    error = ErrorDetail(kind="unavailable", message="The host is away.")
    await servicer.FailPull(pb.FailPullRequest(pull_id=pull_id, holder="me", error=error), CONTEXT)

    inside, may_go_on = threading.Event(), threading.Event()
    check = Room.check

    def slow(self: Room, *arguments: Any, **options: Any) -> None:
        check(self, *arguments, **options)
        inside.set()
        may_go_on.wait(30)

    monkeypatch.setattr(Room, "check", slow)
    again = asyncio.create_task(servicer.BeginPull(BEGIN, CONTEXT))
    await asyncio.to_thread(inside.wait, 30)
    cancelling = asyncio.create_task(servicer.CancelPull(pb.CancelPullRequest(pull_id=pull_id), CONTEXT))
    await asyncio.wait({cancelling}, timeout=0.2)
    may_go_on.set()
    begun, cancelled = await asyncio.gather(again, cancelling)
    assert begun.pull.id == cancelled.pull.id == pull_id
    told = (await servicer.GetPull(pb.GetPullRequest(pull_id=pull_id), CONTEXT)).pull.state
    assert told == cancelled.pull.state == pb.PULL_STATE_CANCELLED
    await access.close()
    await asyncio.to_thread(store.close)
