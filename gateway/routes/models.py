"""/v1/models: what can be asked."""

from __future__ import annotations

from aiohttp import web

from gateway.body import json_response
from gateway.convert.models import model_from_proto
from gateway.keys import STORAGE
from gateway.models import find_model

routes = web.RouteTableDef()


@routes.get("/v1/models")
async def list_models(request: web.Request) -> web.Response:
    """Every model, by id; OpenAI does not page them."""
    models = await request.app[STORAGE].list_models()
    return json_response({"object": "list", "data": [*map(model_from_proto, models)]})


@routes.get("/v1/models/{model_id:.+}")
async def get_model(request: web.Request) -> web.Response:
    """One model; its id may hold slashes, plain or percent-encoded. 404 when it is unknown."""
    model = await find_model(request.app[STORAGE], request.match_info["model_id"])
    return json_response(model_from_proto(model))
