"""Finding the model that a request is for, and saying of one that is still being downloaded how that goes."""

from __future__ import annotations

from aiohttp import web

from gateway.convert.pulls import UNFINISHED, life_from_pull
from gateway.keys import PULLS, STORAGE
from gateway.models.lookup import find_model, find_model_or_any
from jan.errors import FailedPreconditionError, JanError, NotFoundError
from jan.storage.v1 import models_pb2, pulls_pb2


async def find_usable(request: web.Request, name: str) -> models_pb2.Model:
    """The model of that id.

    Raises NotFoundError: it is unknown. FailedPreconditionError with code `model_not_ready`: it is on its way.
    """
    try:
        return await find_model(request.app[STORAGE], name)
    except NotFoundError as unknown:
        raise await _why_not_here(request, name, unknown) from None


async def find_usable_or_any(request: web.Request, name: str) -> models_pb2.Model:
    """As `find_usable`; for an empty name or `*` as `find_model_or_any`."""
    try:
        return await find_model_or_any(request.app[STORAGE], name)
    except NotFoundError as unknown:
        raise await _why_not_here(request, name, unknown) from None


async def coming_models(request: web.Request) -> dict[str, pulls_pb2.Pull]:
    """The downloads under way or given up, by model."""
    return {pull.model_id: pull for pull in await request.app[PULLS].pulls.all() if pull.state in UNFINISHED}


async def _why_not_here(request: web.Request, name: str, unknown: NotFoundError) -> JanError:
    coming = (await coming_models(request)).get(name)
    return unknown if coming is None else FailedPreconditionError(_how(coming), code="model_not_ready", param="model")


def _how(pull: pulls_pb2.Pull) -> str:
    life = life_from_pull(pull)
    if life["error"] is not None:
        return f"The model '{pull.model_id}' is not here: its download failed. {life['error']['message']}"
    share = "" if life["progress"] is None else f" ({life['progress']:.0%})"
    return f"The model '{pull.model_id}' is being downloaded{share}; GET /v1/models/pull/{pull.id} tells how that goes."
