"""What a request may bring: its body's schemas, by media type."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.openapi.reading import Reading, Route

_PREFIX: Final = "#/components/schemas/Request."
_FILE: Final = {"type": "string", "contentMediaType": "application/octet-stream"}
_FLAG: Final = {"type": "string", "enum": ["true", "false"]}
_ZIP: Final = {"type": "string", "contentMediaType": "application/zip"}


def _form(required: list[str], fields: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": fields, "required": required}}


# Bodies that are no JSON, or not only.
_OTHERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "POST /v1/files": {
        "multipart/form-data": _form(
            ["file", "purpose"],
            {
                "file": _FILE,
                "purpose": {"$ref": f"{_PREFIX}CreateFile/properties/purpose"},
                "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
            },
        )
    },
    "POST /v1/uploads/{upload_id}/parts": {"multipart/form-data": _form(["data"], {"data": _FILE})},
    "POST /v1/threads/import": {
        "application/zip": {"schema": _ZIP},
        "application/json": {"schema": {"type": ["array", "object"]}},
        "multipart/form-data": _form(["file"], {"file": _FILE, "dry_run": _FLAG, "stream": _FLAG}),
    },
    "POST /v1/assistants/import": {
        "application/zip": {"schema": _ZIP},
        "multipart/form-data": _form(["file"], {"file": _FILE, "id": {"type": "string"}}),
        "application/json": {"schema": {"$ref": f"{_PREFIX}ImportAssistant"}},
    },
    "POST /v1/storage/restore": {"application/zip": {"schema": _ZIP}},
}
# Checked against these, but not the body.
_NO_BODIES: Final = frozenset({"GET"})


def models_of(route: Route, reading: Reading) -> list[type[BaseModel]]:
    """The schemas that a route checks its body against, those of its parts aside."""
    if route.method in _NO_BODIES:
        return []
    return sorted((one for one in reading.models if not one.__name__.startswith("_")), key=lambda one: one.__name__)


def body_of(route: Route, reading: Reading) -> dict[str, Any] | None:
    """The request body of a route; None when it reads none."""
    if route.name in _OTHERS:
        return {"content": dict(_OTHERS[route.name]), "required": True}
    models = models_of(route, reading)
    if not models:
        return None
    schemas: list[dict[str, Any]] = [{"$ref": _PREFIX + model.__name__} for model in models]
    # An empty body reads as `{}`, so what has no required field may be left out.
    required = any(field.is_required() for model in models for field in model.model_fields.values())
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"content": {"application/json": {"schema": schema}}, "required": required}


def schemas_of(models: Collection[type[BaseModel]]) -> dict[str, Any]:
    """The component schemas of all bodies, by name."""
    by_name = sorted(models, key=lambda model: model.__name__)
    _, found = models_json_schema([(model, "validation") for model in by_name], ref_template=_PREFIX + "{model}")
    return {f"Request.{name}": schema for name, schema in found.get("$defs", {}).items()}
