"""/v1/trash: what was deleted, how to undo it, and how to make room."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.convert.times import seconds
from gateway.http.body import json_response
from gateway.http.confirmation import require_confirmation
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.keys import STORAGE
from jan.ids import TrashId
from jan.storage.v1 import trash_pb2

routes = web.RouteTableDef()


@routes.get("/v1/trash")
async def list_trash(request: web.Request) -> web.Response:
    """A page of deletions that can be undone."""
    page = await request.app[STORAGE].list_trash(read_page(request, TrashId))
    return json_response(list_envelope([*map(_entry, page.entries)], has_more=page.has_more))


@routes.post("/v1/trash/{trash_id}/restore")
async def restore_trash(request: web.Request) -> web.Response:
    """Undo a deletion; 404 the second time, 400 when a name is taken meanwhile."""
    entry = await request.app[STORAGE].restore_trash(path_id(request, "trash_id", TrashId))
    return json_response(_entry(entry) | {"object": "trash.entry.restored", "restored": True})


@routes.delete("/v1/trash/{trash_id}")
async def delete_trash(request: web.Request) -> web.Response:
    """Remove a deletion for good; 404 the second time, 409 while a restore waits for the start of storage."""
    trash_id = path_id(request, "trash_id", TrashId)
    await request.app[STORAGE].delete_trash(trash_id)
    return json_response({"id": trash_id, "object": "trash.entry.deleted", "deleted": True})


@routes.delete("/v1/trash")
async def empty_trash(request: web.Request) -> web.Response:
    """Remove everything that was deleted for good. Needs `?confirm=true`; 409 as above."""
    require_confirmation(request, "This removes everything in the trash for good")
    count = await request.app[STORAGE].empty_trash()
    return json_response({"object": "trash.list.deleted", "deleted": True, "count": count})


def _entry(entry: trash_pb2.TrashEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "object": "trash.entry",
        "kind": entry.kind,
        "deleted_at": seconds(entry.deleted_at),
        "expires_at": seconds(entry.expires_at),
        "count": entry.count,
        "items": [{"id": item.id, "title": item.title} for item in entry.items],
    }
