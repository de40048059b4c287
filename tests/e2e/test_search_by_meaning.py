"""A vector store that a real model embeds, while every process is killed, and a search that goes by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures.stack import POLL_SECONDS, SERVICES, Stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]

# The first job is for 8, so there is a kill between the jobs.
CHUNKS = 9
SMALL: Any = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}


def until(stack: Stack, store_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What a store tells of its embedding, once that is so."""
    client = stack.client
    while True:
        told: dict[str, Any] | None = client.vector_stores.retrieve(store_id).model_dump()["embedding"]
        if told is not None and is_so(told):
            return told
        time.sleep(POLL_SECONDS)


def test_chunks_are_embedded_although_every_process_is_killed(stack: Stack, embedder: str) -> None:
    client = stack.client
    store = client.vector_stores.create()
    long = b"tomato garden " * (50 * CHUNKS)
    files = [
        client.vector_stores.files.upload_and_poll(
            vector_store_id=store.id, file=(name, data), chunking_strategy=SMALL
        ).id
        for name, data in (("long.txt", long), ("short.txt", b"A river runs through the town."))
    ]
    until(stack, store.id, lambda told: told["embedded_chunks"] > 0)
    for name in SERVICES:
        stack.kill(name)
        stack.start(name)
    stack.until_ready()
    told = until(stack, store.id, lambda told: told["embedded_chunks"] == told["chunks"])
    assert (told["model"], told["dimensions"]) == (embedder, 576)
    assert told["chunks"] >= CHUNKS
    answer = client.vector_stores.with_raw_response.search(store.id, query="Wasser in der Stadt", max_num_results=50)
    assert answer.headers["X-Janroot-Ranked-By"] == "words, meaning"
    assert len(answer.parse().data) == told["chunks"]
    client.vector_stores.files.delete(files[1], vector_store_id=store.id)
    found = client.vector_stores.search(store.id, query="Wasser in der Stadt", max_num_results=50)
    assert {hit.file_id for hit in found.data} == {files[0]}
    client.vector_stores.delete(store.id)
