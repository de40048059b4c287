"""Write gateway/openapi/openai_components.json from OpenAI's own OpenAPI document: what its endpoints answer.

Usage: `python -m deploy.openai_components OPENAPI.YAML`, when OpenAI's document has a newer version. Kept are the
answers of the families that this server has, with every schema they need; descriptions and examples are left out. The
faults that make the document useless for checking are mended on the way:

- `nullable: true`, a word of OpenAPI 3.0 in a 3.1 document, becomes the type `null`, and so does `nullable` alone in an
  `allOf`.
- `$recursiveRef: '#'`, a word of an older JSON Schema, becomes a reference to the schema by its name.
- `oneOf` becomes `anyOf`: the branches overlap, so that what OpenAI itself answers would match two of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

WRITTEN: Final = Path(__file__).resolve().parent.parent / "gateway" / "openapi" / "openai_components.json"

FAMILIES: Final = (
    "assistants",
    "batches",
    "chat",
    "completions",
    "conversations",
    "embeddings",
    "files",
    "models",
    "responses",
    "threads",
    "uploads",
    "vector_stores",
)
# What no endpoint is said to answer, though it is in the streams of runs.
_OF_STREAMS: Final = ("RunStepDeltaObject", "MessageDeltaObject")
_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})
_PREFIX: Final = "#/components/schemas/"
# For readers, not for checking; `discriminator` only repeats what the branches say.
_LEFT_OUT: Final = frozenset(
    {
        "$recursiveAnchor",
        "default",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "externalDocs",
        "nullable",
        "title",
    }
)
_NULL: Final = {"type": "null"}


def components(document: Mapping[str, Any]) -> dict[str, Any]:
    """The endpoints' answers by media type, and the schemas that they need."""
    schemas = document["components"]["schemas"]
    answers = dict(_answers(document["paths"]))
    wanted = [*_OF_STREAMS, *(name for by_type in answers.values() for name in by_type.values())]
    kept: dict[str, Any] = {}
    while wanted:
        name = wanted.pop()
        if name not in kept:
            kept[name] = _with_name(mended(schemas[name]), name)
            wanted += _referred(kept[name])
    return {
        "source": "OpenAI's OpenAPI document (openai-openapi)",
        "version": document["info"]["version"],
        "licence": "MIT, Copyright (c) OpenAI; see openai_components.LICENSE beside this file",
        "answers": answers,
        "schemas": dict(sorted(kept.items())),
    }


def mended(schema: Any) -> Any:
    """A schema in plain JSON Schema of OpenAPI 3.1, without what is only for readers."""
    if isinstance(schema, list):
        return [mended(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "properties" in schema and isinstance(schema["properties"], dict):
        # Names of properties are no keywords, whatever they are called.
        properties = {name: mended(part) for name, part in schema["properties"].items()}
        return _with_null({**_plain(schema, but="properties"), "properties": properties}, schema)
    return _with_null(_plain(schema), schema)


def _plain(schema: Mapping[str, Any], but: str = "") -> dict[str, Any]:
    found = {
        name: mended(part)
        for name, part in schema.items()
        if name not in _LEFT_OUT and name != but and not name.startswith("x-")
    }
    if "oneOf" in found:
        found["anyOf"] = found.pop("oneOf")
    return found


def _with_null(plain: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with null among its values, if one of the words for that stands in it."""
    parts = schema.get("allOf", ())
    may_be_null = schema.get("nullable") or any(part == {"nullable": True} for part in parts)
    if "allOf" in plain:
        plain["allOf"] = [part for part in plain["allOf"] if part]
    if not may_be_null:
        return plain
    return {"anyOf": [plain, _NULL]}


def _with_name(schema: Any, name: str) -> Any:
    """The schema of that name, where it speaks of itself by it."""
    if isinstance(schema, list):
        return [_with_name(part, name) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("$recursiveRef") == "#":
        return {"$ref": _PREFIX + name}
    return {key: _with_name(part, name) for key, part in schema.items()}


def _answers(paths: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    for path, operations in paths.items():
        if path.split("/")[1] in FAMILIES and "?" not in path:
            for method in _METHODS & operations.keys():
                content = operations[method]["responses"]["200"].get("content", {})
                named = {
                    media_type: said["schema"]["$ref"].removeprefix(_PREFIX)
                    for media_type, said in sorted(content.items())
                    if "$ref" in said.get("schema", {})
                }
                if named:
                    yield f"{method.upper()} {path}", named


def _referred(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix(_PREFIX)
        for part in schema.values():
            yield from _referred(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _referred(part)


def written(found: Mapping[str, Any]) -> str:
    """JSON with a schema a line, so that a newer version can be compared."""
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in found.items() if isinstance(value, str)]
    for name in ("answers", "schemas"):
        parts = ",\n".join(
            f"  {json.dumps(key)}: {json.dumps(value, separators=(',', ':'), sort_keys=True)}"
            for key, value in sorted(found[name].items())
        )
        lines.append(f" {json.dumps(name)}: {{\n{parts}\n }}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(spec: Path) -> None:
    """Read OpenAI's document and write ours."""
    document = yaml.safe_load(spec.read_text("utf-8"))
    WRITTEN.write_text(written(components(document)), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m deploy.openai_components OPENAPI.YAML")
    main(Path(sys.argv[1]))
