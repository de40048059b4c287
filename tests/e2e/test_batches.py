"""Batches with the stock client, against all four processes and a real model; also while one of them is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI
from openai.types import Batch

from tests.fixtures.stack import MODEL, SERVICES, Stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_ENDS = {"completed", "failed", "expired", "cancelled"}


def request(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Say the number {number}."}]
    return {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": MODEL, "messages": messages, "max_tokens": 8},
    }


def start(client: OpenAI, count: int) -> Batch:
    data = "".join(json.dumps(request(number)) + "\n" for number in range(count)).encode()
    file = client.files.create(file=("requests.jsonl", data), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"name": "numbers"}
    )


def until_ended(client: OpenAI, batch: Batch) -> Batch:
    while (now := client.batches.retrieve(batch.id)).status not in _ENDS:
        pass
    return now


def answers(client: OpenAI, batch: Batch) -> list[str]:
    """The ids of the requests that were answered, in order."""
    assert batch.output_file_id is not None
    found = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert all(one["response"]["body"]["choices"][0]["message"]["content"] for one in found)
    return sorted(one["custom_id"] for one in found)


@pytest.fixture
def client(stack: Stack) -> Iterator[OpenAI]:
    with stack.client as client:
        yield client


def test_three_chats(client: OpenAI) -> None:
    batch = start(client, 3)
    assert batch.status == "validating"
    ended = until_ended(client, batch)
    assert ended.status == "completed"
    assert ended.request_counts is not None
    assert (ended.request_counts.total, ended.request_counts.completed, ended.request_counts.failed) == (3, 3, 0)
    assert ended.error_file_id is None
    assert answers(client, ended) == ["request-0", "request-1", "request-2"]
    assert batch.id in [one.id for one in client.batches.list()]


@pytest.mark.parametrize("name", ["redis", *SERVICES])
def test_a_batch_survives_the_death_of_any_process(stack: Stack, client: OpenAI, name: str) -> None:
    batch = start(client, 12)
    while (counts := client.batches.retrieve(batch.id).request_counts) is None or not counts.completed:
        pass
    stack.kill(name)
    stack.start(name)
    stack.until_ready()
    ended = until_ended(client, batch)
    assert ended.status == "completed"
    assert ended.request_counts is not None
    assert ended.request_counts.failed == 0
    assert answers(client, ended) == sorted(f"request-{number}" for number in range(12))


def test_an_input_that_came_in_parts(client: OpenAI) -> None:
    data = json.dumps(request(0)).encode() + b"\n"
    upload = client.uploads.upload_file_chunked(
        file=data, filename="requests.jsonl", bytes=len(data), purpose="batch", mime_type="text/jsonl", part_size=64
    )
    assert upload.status == "completed"
    assert upload.file is not None
    batch = client.batches.create(
        input_file_id=upload.file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert answers(client, until_ended(client, batch)) == ["request-0"]
