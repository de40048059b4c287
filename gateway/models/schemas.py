"""Asking an engine host, before there is a job, whether an engine could be bound to the schemas of what is asked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.models.lookup import REMOTE_ENGINE
from gateway.services.inference import CHECK_SECONDS, InferenceClient
from jan.errors import InvalidArgumentError

_FIELDS: Final = ("tools", "tool_choice", "response_format")
_FREE: Final = ("none", "auto")
_PLACE: Final = re.compile(r"tools\[(\d{1,4})\]")


async def check_schemas(
    inference: InferenceClient, engine: str, parameters: Mapping[str, Any], places: Sequence[str] = ()
) -> None:
    """Look at the schemas of a chat, in parameters as engines are told them. places: see `as_sent`.

    A choice that forces a call is for the first round of a run; the rounds behind it are looked at as well. Schemas for
    remote models are their server's business, and what no host can tell in time is told by the job. Raises
    InvalidArgumentError, naming the field: nothing could be bound to it.
    """
    told = {name: parameters[name] for name in _FIELDS if parameters.get(name) is not None}
    shape = (told.get("response_format") or {}).get("type")
    if engine == REMOTE_ENGINE or not (told.get("tools") or shape == "json_schema"):
        return
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await inference.check_schemas(engine, orjson.dumps(told).decode())
            if told.get("tool_choice", "auto") not in _FREE:
                await inference.check_schemas(engine, orjson.dumps(told | {"tool_choice": "auto"}).decode())
    except TimeoutError:
        return
    except InvalidArgumentError as unbound:
        raise InvalidArgumentError(
            unbound.message, code=unbound.code, param=as_sent(unbound.param, places)
        ) from unbound


def functions_of(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """The places of a request's functions among its tools, those that engines are told, as errors call them."""
    return [f"tools[{place}]" for place, tool in enumerate(tools) if tool.get("type") == "function"]


def as_sent(param: str, places: Sequence[str]) -> str:
    """A field as the request has it, where engines are told some of its tools. places: of those, in the request."""
    found = _PLACE.match(param)
    if found is None or int(found[1]) >= len(places):
        return param
    return places[int(found[1])] + param[found.end() :]
