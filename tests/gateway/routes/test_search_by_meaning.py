"""Vector stores searched by meaning, over real storage and a real queue; the vectors are the test's own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import JOBS, STORAGE
from gateway.vector_stores.embedder import nothing, vectors_of
from gateway.vector_stores.embedding import TENANT, next_count
from gateway.vector_stores.search import ChunkSearcher
from jan.errors import FailedPreconditionError, InternalError, InvalidArgumentError
from jan.inference.v1 import jobs_pb2
from jan.storage.v1.vector_stores_pb2 import SearchVectorStoreRequest
from jan.tasks import end
from tests.fixtures.gateway import Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker, TakenByTest
from tests.gateway.routes.test_runs import start, until_ended
from tests.gateway.runs.test_file_search import TOOL, asking_thread, new_store

EMBEDDER = "embedder"
TEXTS = {"car": "My automobile is red", "cat": "The kitten sleeps"}
SUBJECTS = (("car", "automobile"), ("cat", "feline", "kitten"))
RANKED_BY = "X-Janroot-Ranked-By"
TOO_LONG = InvalidArgumentError("It is too long.", param="input", code="context_length_exceeded")


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.vector_stores.embedding.LOOK_SECONDS", 0.1)


def meaning_of(text: str) -> list[float]:
    return [sum(text.lower().count(word) for word in words) + 0.01 for words in SUBJECTS]


def add_embedder(janroot: Path, model_id: str = EMBEDDER, **fields: Any) -> None:
    write_model(janroot, model_id, **{"engine": "llamacpp", "format": "gguf", "settings": {"embedding": True}} | fields)


async def embed_next(worker: ScriptedWorker) -> TakenByTest:
    """Take the next job and embed what it asks."""
    job = await worker.take()
    assert job.job.endpoint == jobs_pb2.ENDPOINT_EMBEDDINGS
    await job.embed(*map(meaning_of, job.body["input"]))
    return job


async def until_embedded(gateway: Gateway, store_id: str, chunks: int = 1) -> dict[str, Any]:
    """The store, once all of its chunks have vectors; so many at least, as it tells what its last look found."""
    while True:
        store: dict[str, Any] = await gateway.json("GET", f"/v1/vector_stores/{store_id}")
        embedding = store["embedding"]
        if embedding and embedding["chunks"] and chunks <= embedding["chunks"] == embedding["embedded_chunks"]:
            return store


async def embedded_store(gateway: Gateway, worker: ScriptedWorker, **texts: str) -> tuple[str, list[str]]:
    """A store whose chunks are all embedded."""
    store_id, ids = await new_store(gateway, **texts)
    async with embedding(worker):
        await until_embedded(gateway, store_id, len(texts))
    return store_id, ids


@asynccontextmanager
async def embedding(
    worker: ScriptedWorker, most_characters: int = 1_000_000, more_dimensions: int = 0
) -> AsyncIterator[list[str]]:
    """Embed whatever is asked meanwhile, but nothing longer; the texts that were embedded."""
    done: list[str] = []

    async def work() -> None:
        while True:
            job = await worker.take()
            texts = job.body["input"]
            if max(map(len, texts)) > most_characters:
                await job.fail(TOO_LONG)
            else:
                done.extend(texts)
                await job.embed(*(meaning_of(text) + [0.01] * more_dimensions for text in texts))

    task = asyncio.create_task(work(), name="embed")
    try:
        yield done
    finally:
        await end(task)


async def search(gateway: Gateway, store_id: str, query: str, **fields: Any) -> tuple[list[str], str]:
    """The files that are found, the best first; and what ranked them."""
    path = f"/v1/vector_stores/{store_id}/search"
    async with gateway.client.post(path, json={"query": query, **fields}) as response:
        answer = await response.json()
        assert response.status == 200, answer
        scores = [hit["score"] for hit in answer["data"]]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        return [hit["file_id"] for hit in answer["data"]], response.headers[RANKED_BY]


async def test_a_query_finds_what_it_means(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer
) -> None:
    add_embedder(storage_server.janroot)
    store_id, [car, cat] = await new_store(gateway, **TEXTS)
    job = (await embed_next(worker)).job
    assert (job.model.id, job.tenant, job.priority) == (EMBEDDER, TENANT, jobs_pb2.PRIORITY_BATCH)
    async with embedding(worker):  # the second file may have come a moment later
        store = await until_embedded(gateway, store_id, 2)
        assert store["embedding"] == {"model": EMBEDDER, "dimensions": 2, "chunks": 2, "embedded_chunks": 2}
        assert await search(gateway, store_id, "a feline") == ([cat, car], "words, meaning")
        assert (await search(gateway, store_id, "a car"))[0][0] == car
        one = {"type": "eq", "key": "none", "value": 1}
        assert await search(gateway, store_id, "a feline", filters=one) == ([], "none; reason=no_chunks")
        least = {"score_threshold": 0.9, "hybrid_search": {"embedding_weight": 1, "text_weight": 0}}
        assert await search(gateway, store_id, "a feline", ranking_options=least) == ([cat], "meaning")
        assert (await search(gateway, store_id, "a feline", max_num_results=1))[0] == [cat]
    words = {"hybrid_search": {"embedding_weight": 0, "text_weight": 1}}
    assert await search(gateway, store_id, "a feline", ranking_options=words) == ([], "words; reason=not_wanted")


async def test_the_query_is_embedded_for_whom_and_as_urgently_as_he_asks(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer
) -> None:
    add_embedder(storage_server.janroot)
    store_id, _ = await embedded_store(gateway, worker, **TEXTS)
    headers = {"X-Janroot-Priority": "interactive", "Authorization": "Bearer ann"}
    body = {"query": ["a feline", "a car"]}
    path = f"/v1/vector_stores/{store_id}/search"
    asking = asyncio.create_task(gateway.client.post(path, json=body, headers=headers))
    job = await embed_next(worker)
    assert (job.job.priority, job.job.tenant[:4]) == (jobs_pb2.PRIORITY_INTERACTIVE, "key:")
    assert job.body["input"] == ["a feline", "a car"]
    async with await asking as response:
        assert len((await response.json())["data"]) == 2


async def test_words_answer_when_the_query_is_not_embedded(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer
) -> None:
    add_embedder(storage_server.janroot)
    store_id, [car, _] = await embedded_store(gateway, worker, **TEXTS)
    asking = asyncio.create_task(search(gateway, store_id, "automobile"))
    await (await worker.take()).fail(FailedPreconditionError("It does not load."))
    assert await asking == ([car], "words; reason=model_failed")
    impatient = ChunkSearcher(gateway.app[STORAGE], gateway.app[JOBS], "", patience_seconds=0.05)
    request = SearchVectorStoreRequest(vector_store_id=store_id, queries=["automobile"], max_results=5)
    ranked = await impatient.search(request, tenant="ann", priority=jobs_pb2.PRIORITY_NORMAL)
    assert ([hit.file_id for hit in ranked.hits], ranked.by) == ([car], ["words"])
    assert ranked.reason == "model_too_slow"


async def test_words_answer_when_the_model_is_gone_or_another(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer
) -> None:
    add_embedder(storage_server.janroot)
    store_id, [car, _] = await embedded_store(gateway, worker, **TEXTS)
    folder = storage_server.janroot / "models" / EMBEDDER
    await asyncio.to_thread(folder.rename, storage_server.janroot.parent / "away")
    assert await search(gateway, store_id, "automobile") == ([car], "words; reason=model_gone")
    add_embedder(storage_server.janroot, settings={"embedding": True, "pooling": "mean"})
    assert await search(gateway, store_id, "automobile") == ([car], "words; reason=model_changed")
    async with embedding(worker):  # and its vectors are made anew
        while (found := await search(gateway, store_id, "automobile"))[1] != "words, meaning":
            assert found[0] == [car]


async def test_the_header_says_what_ranked_also_when_nothing_is_found(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer
) -> None:
    add_embedder(storage_server.janroot)
    empty = await gateway.json("POST", "/v1/vector_stores", {})
    assert await search(gateway, empty["id"], "a feline") == ([], "none; reason=no_chunks")
    store_id, [car, _] = await embedded_store(gateway, worker, **TEXTS)
    strict = {"score_threshold": 1}
    async with embedding(worker):
        assert await search(gateway, store_id, "zebra", ranking_options=strict) == ([], "words, meaning")
    vectors = storage_server.janroot / "vector_stores" / store_id / "files" / f"{car}.vectors"
    await asyncio.to_thread(vectors.unlink)
    asking = asyncio.create_task(search(gateway, store_id, "zebra", ranking_options=strict))
    await embed_next(worker)  # the query; whatever else is asked, is not answered
    assert await asking == ([], "words, meaning; reason=partly_embedded")


async def test_a_model_whose_vectors_grow_is_followed_and_other_stores_go_on(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer
) -> None:
    add_embedder(storage_server.janroot)
    store_id, [car, cat] = await embedded_store(gateway, worker, **TEXTS)
    other, _ = await new_store(gateway, more="a red car")
    async with embedding(worker, more_dimensions=1):
        assert (await search(gateway, store_id, "automobile"))[1] == "words; reason=not_embedded"
        await until_embedded(gateway, other)
        while (await until_embedded(gateway, store_id, 2))["embedding"]["dimensions"] != 3:
            pass
        assert await search(gateway, store_id, "a feline") == ([cat, car], "words, meaning")


async def test_a_store_without_an_embedding_model_is_searched_by_words(gateway: Gateway) -> None:
    store_id, [car, _] = await new_store(gateway, **TEXTS)
    assert await search(gateway, store_id, "automobile") == ([car], "words; reason=not_embedded")
    assert (await gateway.json("GET", f"/v1/vector_stores/{store_id}"))["embedding"] is None


async def test_an_embedding_that_was_begun_goes_on_after_a_restart(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, worker: ScriptedWorker
) -> None:
    add_embedder(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as first:
        store_id, _ = await new_store(first, long="kitten " * 100 * 300)
        await embed_next(worker)
        taken = await worker.take()
    await taken.until_cancelled()
    async with running_gateway(storage_server, redis_server) as second, embedding(worker):
        store = await until_embedded(second, store_id)
        assert store["embedding"]["chunks"] > 64
        assert (await search(second, store_id, "feline"))[1] == "words, meaning"


async def test_two_gateways_embed_each_chunk_once(
    gateway: Gateway, storage_server: StorageServer, redis_server: RedisServer, worker: ScriptedWorker
) -> None:
    async with running_gateway(storage_server, redis_server), embedding(worker) as done:
        store_id, _ = await new_store(gateway, long="kitten " * 100 * 300)
        add_embedder(storage_server.janroot)
        store = await until_embedded(gateway, store_id)
        assert store["embedding"]["chunks"] == len(done) > 64


async def test_a_model_set_by_name_embeds_and_none_embeds_nothing(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, worker: ScriptedWorker
) -> None:
    add_embedder(storage_server.janroot)
    add_embedder(storage_server.janroot, "remote", engine="openai", format="api")
    async with running_gateway(storage_server, redis_server, JANROOT_EMBEDDING_MODEL="remote") as gateway:
        store_id, _ = await embedded_store(gateway, worker, **TEXTS)
        assert (await until_embedded(gateway, store_id))["embedding"]["model"] == "remote"
    async with running_gateway(storage_server, redis_server, JANROOT_EMBEDDING_MODEL="none") as gateway:
        assert (await search(gateway, store_id, "a feline")) == ([], "words; reason=not_wanted")


async def test_a_chunk_that_is_too_long_is_embedded_by_its_beginning(
    gateway: Gateway, storage_server: StorageServer, worker: ScriptedWorker
) -> None:
    add_embedder(storage_server.janroot)
    store_id, _ = await new_store(gateway, long="kitten " * 500, short="automobile")
    async with embedding(worker, most_characters=1000) as done:
        assert (await until_embedded(gateway, store_id, 2))["embedding"]["chunks"] == 2
        assert sorted(map(len, done)) == [len("automobile"), 874]
        assert len((await search(gateway, store_id, "feline"))[0]) == 2


async def test_what_is_no_vector_is_asked_for_again(
    gateway: Gateway, storage_server: StorageServer, worker: ScriptedWorker
) -> None:
    add_embedder(storage_server.janroot)
    store_id, _ = await new_store(gateway, cat="kitten")
    await (await worker.take()).embed([math.nan, 1.0])
    assert (await gateway.json("GET", f"/v1/vector_stores/{store_id}"))["embedding"] is None
    await embed_next(worker)
    await until_embedded(gateway, store_id)


async def test_a_run_cites_what_it_found_by_meaning(
    gateway: Gateway, storage_server: StorageServer, worker: ScriptedWorker
) -> None:
    add_embedder(storage_server.janroot)
    store_id, [_, cat] = await embedded_store(gateway, worker, **TEXTS)
    thread_id = await asking_thread(gateway, store_id, "Does any feline doze?")
    run = await start(gateway, thread_id, tools=[TOOL], model="scripted")
    await embed_next(worker)
    job = await worker.take()
    assert "[1] cat.txt\nThe kitten sleeps" in job.body["messages"][0]["content"]
    await job.begin()
    await job.say("It does [1].")
    await job.finish()
    assert (await until_ended(gateway, run))["status"] == "completed"
    listed = await gateway.json("GET", f"/v1/threads/{thread_id}/messages?run_id={run['id']}")
    [annotation] = listed["data"][0]["content"][0]["text"]["annotations"]
    assert annotation["file_citation"]["file_id"] == cat


@pytest.mark.parametrize(
    "weights",
    [{"embedding_weight": 0, "text_weight": 0}, {"embedding_weight": -1, "text_weight": 1}, {"text_weight": 1}],
)
async def test_weights_that_rank_nothing_are_refused_by_name(gateway: Gateway, weights: dict[str, float]) -> None:
    body = {"query": "x", "ranking_options": {"hybrid_search": weights}}
    error = (await gateway.json("POST", "/v1/vector_stores/vs_none/search", body, status=400))["error"]
    assert error["param"].startswith("ranking_options.hybrid_search")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"data": []}',
        b'{"data": [{"embedding": "AAAA"}]}',
        b'{"data": [{"embedding": "AAAAAA=="}]}',
        b'{"data": [{"embedding": "AADAfw=="}]}',
        b'{"data": [{"embedding": [1.0]}]}',
    ],
)
def test_an_answer_that_holds_no_vectors_is_none(answer: bytes) -> None:
    with pytest.raises(InternalError):
        vectors_of(answer, 1)


@pytest.mark.parametrize(
    ("count", "seconds", "following"),
    [(8, 0.1, 16), (64, 0.1, 64), (8, 3.0, 8), (8, 30.0, 4), (1, 30.0, 1), (1, 0.1, 2)],
)
def test_jobs_are_as_large_as_the_model_is_fast(count: int, seconds: float, following: int) -> None:
    assert next_count(count, seconds) == following


def test_a_text_that_is_not_taken_has_a_vector_of_nothing() -> None:
    assert nothing(8) == b"\x00\x00\xc0\x7f" * 2
