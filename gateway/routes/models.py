"""/v1/models: what can be asked."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.body import json_response
from gateway.convert.models import model_from_proto
from gateway.keys import INFERENCE, STORAGE
from gateway.models import find_model

routes = web.RouteTableDef()


@routes.get("/v1/models")
async def list_models(request: web.Request) -> web.Response:
    """Every model, by id; OpenAI does not page them."""
    models, statuses = await asyncio.gather(request.app[STORAGE].list_models(), request.app[INFERENCE].statuses())
    data = [model_from_proto(model, statuses.get(model.id)) for model in models]
    return json_response({"object": "list", "data": data})


@routes.get("/v1/models/{model_id:.+}")
async def get_model(request: web.Request) -> web.Response:
    """One model; its id may hold slashes, plain or percent-encoded. 404 when it is unknown."""
    model = await find_model(request.app[STORAGE], request.match_info["model_id"])
    statuses = await request.app[INFERENCE].statuses()
    return json_response(model_from_proto(model, statuses.get(model.id)))
