"""Models as Anthropic's clients list them: with its fields, the newest first, in pages of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from aiohttp import web

from gateway.http.paging import DEFAULT_LIMIT, list_envelope, page_of, read_limit
from gateway.schemas.common import JsonObject
from jan.errors import InvalidArgumentError
from jan.storage.v1 import paging_pb2

_MAX_LIMIT = 1000
_ACTIVE = "active"
_LIFECYCLES = frozenset({_ACTIVE, "deprecated", "retired"})


def model_info(model: JsonObject) -> JsonObject:
    """Anthropic's object of a model, from OpenAI's. What it can do is told by trying: nobody here has a list of it."""
    created = datetime.fromtimestamp(model["created"], UTC)
    return {
        "type": "model",
        "id": model["id"],
        "display_name": model["name"] or model["id"],
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": _ACTIVE,
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "capabilities": None,
        "max_input_tokens": model["ctx_len"],
        "max_tokens": model["ctx_len"],
    }


def model_page(request: web.Request, models: Sequence[JsonObject]) -> JsonObject:
    """The page of models that a request asks for. Raises InvalidArgumentError, naming the parameter at fault."""
    is_asked = _ACTIVE in _lifecycles(request)
    oldest_first = sorted(models if is_asked else (), key=lambda model: (model["created"], model["id"]))
    page = paging_pb2.PageRequest(
        page_size=read_limit(request.query.get("limit"), DEFAULT_LIMIT, _MAX_LIMIT),
        order=paging_pb2.ORDER_DESC,
        after=request.query.get("after_id", ""),
        before=request.query.get("before_id", ""),
    )
    chosen, has_more = page_of(oldest_first, page, names=("after_id", "before_id"))
    envelope = list_envelope([*map(model_info, chosen)], has_more=has_more)
    return {name: value for name, value in envelope.items() if name != "object"}


def _lifecycles(request: web.Request) -> set[str]:
    """The stages of a model's life that are asked for; every model here is in the same one."""
    named = [*request.query.getall("lifecycle", []), *request.query.getall("lifecycle[]", [])]
    asked = {stage for text in named for stage in text.split(",")} or {_ACTIVE}
    if not asked <= _LIFECYCLES:
        raise InvalidArgumentError("'lifecycle' must be 'active', 'deprecated' or 'retired'.", param="lifecycle")
    return asked
