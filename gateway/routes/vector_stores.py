"""/v1/vector_stores: uploads that are searched together."""

from __future__ import annotations

from aiohttp import web

from gateway.convert.vector_stores import (
    hit_from_proto,
    new_files,
    new_store,
    queries,
    search_to_proto,
    store_from_proto,
    store_update,
    text_page,
)
from gateway.http.body import json_response, read_body
from gateway.http.mentions import mentioned_in
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.idempotency.key import new_ids
from gateway.keys import CHUNK_SEARCH, VECTOR_STORES
from gateway.queueing.priority import priority_of
from gateway.queueing.tenant import tenant_of
from gateway.schemas.vector_stores import CreateVectorStore, ModifyVectorStore, SearchVectorStore
from gateway.vector_stores.search import Ranked
from jan.ids import VectorStoreId

RANKED_BY = "X-Janroot-Ranked-By"

routes = web.RouteTableDef()


@routes.post("/v1/vector_stores")
async def create_vector_store(request: web.Request) -> web.Response:
    """Make a vector store; its files are processed after the answer. 404 when a file is unknown, and no store then."""
    body = await read_body(request, CreateVectorStore)
    store = new_store(new_ids(request).next(VectorStoreId), body)
    with mentioned_in("file_ids"):
        store = await request.app[VECTOR_STORES].create(store, new_files(body))
    return json_response(store_from_proto(store))


@routes.get("/v1/vector_stores")
async def list_vector_stores(request: web.Request) -> web.Response:
    """A page of vector stores, expired ones among them."""
    page = await request.app[VECTOR_STORES].list(read_page(request, VectorStoreId))
    return json_response(list_envelope([*map(store_from_proto, page.vector_stores)], has_more=page.has_more))


@routes.get("/v1/vector_stores/{vector_store_id}")
async def get_vector_store(request: web.Request) -> web.Response:
    """One vector store; 404 when it is unknown."""
    return json_response(store_from_proto(await request.app[VECTOR_STORES].get(_store_id(request))))


@routes.post("/v1/vector_stores/{vector_store_id}")
async def modify_vector_store(request: web.Request) -> web.Response:
    """Change the fields sent; 404 when the store is unknown."""
    store_id = _store_id(request)
    body = await read_body(request, ModifyVectorStore)
    return json_response(store_from_proto(await request.app[VECTOR_STORES].update(store_update(store_id, body))))


@routes.delete("/v1/vector_stores/{vector_store_id}")
async def delete_vector_store(request: web.Request) -> web.Response:
    """Remove a vector store for good; the uploads stay. 404 the second time."""
    store_id = _store_id(request)
    await request.app[VECTOR_STORES].delete(store_id)
    return json_response({"id": store_id, "object": "vector_store.deleted", "deleted": True})


@routes.post("/v1/vector_stores/{vector_store_id}/search")
async def search_vector_store(request: web.Request) -> web.Response:
    """The chunks that match, the best first; 400 when the store has expired."""
    store_id = _store_id(request)
    body = await read_body(request, SearchVectorStore)
    ranked = await request.app[CHUNK_SEARCH].search(
        search_to_proto(store_id, body), tenant=tenant_of(request), priority=priority_of(request, stream=False)
    )
    found = [*map(hit_from_proto, ranked.hits)]
    answer = json_response(text_page("vector_store.search_results.page", found, search_query=queries(body)))
    answer.headers[RANKED_BY] = _ranked_by(ranked)
    return answer


def _ranked_by(ranked: Ranked) -> str:
    """`words, meaning`, or less and why: `words; reason=not_embedded`."""
    return (", ".join(ranked.by) or "none") + (f"; reason={ranked.reason}" if ranked.reason else "")


def _store_id(request: web.Request) -> VectorStoreId:
    return path_id(request, "vector_store_id", VectorStoreId)
