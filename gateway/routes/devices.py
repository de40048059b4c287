"""/v1/devices: what models run on, and what is placed where."""

from __future__ import annotations

from aiohttp import web

from gateway.convert.devices import device_from_proto
from gateway.http.body import json_response
from gateway.keys import INFERENCE

routes = web.RouteTableDef()


@routes.get("/v1/devices")
async def list_devices(request: web.Request) -> web.Response:
    """Every device of every engine host that answers; 503 when none does."""
    hosts = await request.app[INFERENCE].devices()
    data = [device_from_proto(answer.host, device) for answer in hosts for device in answer.devices]
    return json_response({"object": "list", "data": data})
