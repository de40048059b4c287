"""OpenAI's `response_format`, bounded so that no schema from a stranger can stall an engine (docs/security.md S25)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field, StringConstraints, model_validator

from gateway.schemas.common import JsonObject, RequestModel

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_PATTERN_LENGTH = 256


class JsonSchemaFormat(RequestModel):
    """A named JSON schema that the answer must satisfy."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    description: str | None = None
    json_schema: JsonObject | None = Field(default=None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if self.json_schema is not None:
            check_schema(self.json_schema)
        return self


class ResponseFormat(RequestModel):
    """How the answer shall be shaped: free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is needed for this type")
        return self


def check_schema(schema: JsonObject) -> None:
    """Raises ValueError: a schema that an engine should not be given."""
    if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise ValueError(f"a schema may hold at most {MAX_SCHEMA_BYTES} bytes")
    _check_bounds(schema, MAX_SCHEMA_DEPTH)


def _check_bounds(value: Any, depth_left: int) -> None:
    if depth_left == 0:
        raise ValueError(f"a schema may nest at most {MAX_SCHEMA_DEPTH} levels")
    if isinstance(value, dict):
        pattern = value.get("pattern")
        if isinstance(pattern, str) and len(pattern) > MAX_PATTERN_LENGTH:
            raise ValueError(f"a pattern may hold at most {MAX_PATTERN_LENGTH} characters")
        for child in value.values():
            _check_bounds(child, depth_left - 1)
    elif isinstance(value, list):
        for child in value:
            _check_bounds(child, depth_left - 1)
