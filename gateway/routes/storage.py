"""/v1/storage: the janroot itself."""

from __future__ import annotations

from aiohttp import web

from gateway.convert.report import report_from_proto
from gateway.http.body import json_response
from gateway.keys import SETTINGS, STORAGE
from gateway.vector_stores.embedder import known_embedders
from jan.errors import InvalidArgumentError

routes = web.RouteTableDef()

DEFAULT_FINDINGS = 1_000


@routes.get("/v1/storage/report")
async def get_report(request: web.Request) -> web.Response:
    """What is unusual in the janroot, and what to do about it; `limit` bounds the findings told, 1 to 10,000."""
    text = request.query.get("limit", str(DEFAULT_FINDINGS))
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise InvalidArgumentError("limit must be a whole number between 1 and 10000.", param="limit")
    storage = request.app[STORAGE]
    embedders = await known_embedders(storage, request.app[SETTINGS].embedding_model)
    return json_response(report_from_proto(await storage.get_report(int(text), embedders)))
