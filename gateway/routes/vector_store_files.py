"""/v1/vector_stores/{vector_store_id}/files and …/file_batches: what is in a vector store."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.convert.json_fields import sent_to_text
from gateway.convert.vector_stores import (
    FILE_STATES,
    batch_from_proto,
    new_file,
    new_files,
    store_file_from_proto,
    text_page,
)
from gateway.http.body import json_response, read_body
from gateway.http.mentions import mentioned_in
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.idempotency.key import new_ids
from gateway.keys import VECTOR_STORES
from gateway.schemas.vector_stores import CreateFileBatch, CreateVectorStoreFile, UpdateAttributes
from jan.errors import InvalidArgumentError
from jan.ids import FileBatchId, FileId, VectorStoreId
from jan.storage.v1 import vector_store_files_pb2 as pb

routes = web.RouteTableDef()

_FILES = "/v1/vector_stores/{vector_store_id}/files"
_BATCHES = "/v1/vector_stores/{vector_store_id}/file_batches"
# Most files are texts and are done at once; without a word of ours the SDKs ask once a second.
_POLL_AFTER = {"openai-poll-after-ms": "200"}


@routes.post(_FILES)
async def create_file(request: web.Request) -> web.Response:
    """Add an upload, which is processed after the answer; 404 when store or upload is unknown."""
    store_id = _store_id(request)
    body = await read_body(request, CreateVectorStoreFile)
    with mentioned_in("file_id"):
        return _file_response(await request.app[VECTOR_STORES].add_file(store_id, new_file(body)))


@routes.get(_FILES)
async def list_files(request: web.Request) -> web.Response:
    """A page of a store's files; `filter` narrows it to a status."""
    return await _list(request)


@routes.get(_FILES + "/{file_id}")
async def get_file(request: web.Request) -> web.Response:
    """One file of a store, and how far it is."""
    return _file_response(await request.app[VECTOR_STORES].get_file(_store_id(request), _file_id(request)))


@routes.post(_FILES + "/{file_id}")
async def update_file(request: web.Request) -> web.Response:
    """Replace a file's attributes."""
    store_id, file_id = _store_id(request), _file_id(request)
    body = await read_body(request, UpdateAttributes)
    attributes = sent_to_text(body.attributes or {}, "attributes")
    return _file_response(await request.app[VECTOR_STORES].set_attributes(store_id, file_id, attributes))


@routes.delete(_FILES + "/{file_id}")
async def delete_file(request: web.Request) -> web.Response:
    """Take a file out of a store; the upload stays. 404 the second time."""
    file_id = _file_id(request)
    await request.app[VECTOR_STORES].remove_file(_store_id(request), file_id)
    return json_response({"id": file_id, "object": "vector_store.file.deleted", "deleted": True})


@routes.get(_FILES + "/{file_id}/content")
async def get_file_content(request: web.Request) -> web.Response:
    """The text that was taken out of a file; 400 while there is none."""
    text = await request.app[VECTOR_STORES].text(_store_id(request), _file_id(request))
    return json_response(text_page("vector_store.file_content.page", [{"type": "text", "text": text}]))


@routes.post(_BATCHES)
async def create_batch(request: web.Request) -> web.Response:
    """Add up to 2,000 uploads together, all or none."""
    store_id = _store_id(request)
    body = await read_body(request, CreateFileBatch)
    batch_id = new_ids(request).next(FileBatchId)
    with mentioned_in("file_ids" if body.files is None else "files"):
        return _batch_response(await request.app[VECTOR_STORES].create_batch(store_id, batch_id, new_files(body)))


@routes.get(_BATCHES + "/{batch_id}")
async def get_batch(request: web.Request) -> web.Response:
    """A batch, and how far its files are."""
    return _batch_response(await request.app[VECTOR_STORES].get_batch(_store_id(request), _batch_id(request)))


@routes.post(_BATCHES + "/{batch_id}/cancel")
async def cancel_batch(request: web.Request) -> web.Response:
    """Give up what of a batch is not done; 400 when nothing is left."""
    return _batch_response(await request.app[VECTOR_STORES].cancel_batch(_store_id(request), _batch_id(request)))


@routes.get(_BATCHES + "/{batch_id}/files")
async def list_batch_files(request: web.Request) -> web.Response:
    """A page of a batch's files; `filter` narrows it to a status."""
    return await _list(request, _batch_id(request))


async def _list(request: web.Request, batch_id: str = "") -> web.Response:
    page = await request.app[VECTOR_STORES].list_files(
        pb.ListVectorStoreFilesRequest(
            vector_store_id=_store_id(request),
            page=read_page(request, FileId),
            state=_read_state(request.query.get("filter")),
            batch_id=batch_id,
        )
    )
    return json_response(list_envelope([*map(store_file_from_proto, page.files)], has_more=page.has_more))


def _read_state(text: str | None) -> pb.VectorStoreFileState.ValueType:
    if not text:
        return pb.VECTOR_STORE_FILE_STATE_UNSPECIFIED
    if text not in FILE_STATES:
        raise InvalidArgumentError(f"'filter' must be one of {', '.join(FILE_STATES)}.", param="filter")
    return FILE_STATES[text]


def _file_response(file: pb.VectorStoreFile) -> web.Response:
    return _polled(store_file_from_proto(file))


def _batch_response(batch: pb.VectorStoreFileBatch) -> web.Response:
    return _polled(batch_from_proto(batch))


def _polled(value: dict[str, Any]) -> web.Response:
    return json_response(value, headers=_POLL_AFTER if value["status"] == "in_progress" else None)


def _store_id(request: web.Request) -> VectorStoreId:
    return path_id(request, "vector_store_id", VectorStoreId)


def _file_id(request: web.Request) -> FileId:
    return path_id(request, "file_id", FileId)


def _batch_id(request: web.Request) -> FileBatchId:
    return path_id(request, "batch_id", FileBatchId)
