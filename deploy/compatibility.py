"""Write docs/compatibility.md from the gateway's own routes and schemas, or check that the committed page is fresh.

Usage: `python -m deploy.compatibility write` or `… check` (`make compatibility`; the tests check too). What OpenAI
documents stands in openai_contract.json beside this file: the names of its endpoints and of their parameters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import FunctionType
from typing import Final

from pydantic import BaseModel

from gateway.app import build_app
from gateway.http.not_built import FAMILIES
from gateway.openapi.differences import DIFFERENCES
from gateway.openapi.reading import Reading, anonymous, routes_of
from gateway.settings import GatewaySettings

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "compatibility.md"
CONTRACT: Final = Path(__file__).with_name("openai_contract.json")

SUPPORTED, ACCEPTED, REMOTE = "supported", "accepted", "remote models only"
REFUSED, IGNORED, NOT_BUILT = "refused", "ignored", "not built"

# Parts of a request that no schema names.
_FORM_FIELDS: Final = {"POST /files": {"file"}, "POST /uploads/{upload_id}/parts": {"data"}}
_HEAD: Final = """# OpenAI's API, endpoint by endpoint

This page is written from the code by `make compatibility`, and a test fails when it is stale. Left is what OpenAI
documents (its OpenAPI document, version {version}), right what this server does with it. Jan's own routes are in the
README.

| word | means |
|---|---|
| supported | it does what OpenAI says; bounds that differ are told by the error |
| accepted | it may be sent, and changes no answer: a hint about caches, which engines here fill by themselves |
| remote models only | it is passed on to a model that is served elsewhere, and refused for one that runs here |
| refused | 400 that names the parameter; an endpoint: 404 with code `unsupported_endpoint` and the reason |
| ignored | it is not looked at |
| not built | 404 with code `unknown_url` |

"""

_UNCOUNTED: Final = """
## What counts no images

`POST /v1/tokenize` (`messages[0].content[1].image_url`), `POST /v1/responses/input_tokens` and
`POST /v1/messages/count_tokens` refuse images with 400, by their names: an image becomes as many tokens as its model's
eye makes of it, and they have no numbers. What it was stands in the answer's `usage`.
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of the contract, and what becomes of it: a word for itself, one for each of its parameters."""

    method: str
    path: str
    word: str
    parameters: Mapping[str, str]
    notes: Mapping[str, str]

    @property
    def family(self) -> str:
        """The first segment of its path."""
        return self.path.split("/")[1]


def endpoints() -> list[Endpoint]:
    """Every endpoint of the contract, in its order."""
    handlers = {one.anonymous: one.handler for one in routes_of(build_app(GatewaySettings.from_environment({})))}
    contract = json.loads(CONTRACT.read_text("utf-8"))["endpoints"]
    return [_judged(name, documented, handlers) for name, documented in contract.items()]


def page() -> str:
    """The whole page."""
    version = json.loads(CONTRACT.read_text("utf-8"))["version"]
    by_family = groupby(sorted(endpoints(), key=lambda one: one.family), key=lambda one: one.family)
    sections = "\n".join(_section(family, list(found)) for family, found in by_family)
    return _HEAD.format(version=version) + sections + _differing() + _UNCOUNTED


def _differing() -> str:
    """Where answers are other than OpenAI's document has them."""
    told = "\n".join(f"- {difference.reason}" for difference in DIFFERENCES)
    return f"\n## Where answers differ from OpenAI's document on purpose\n\n{told}\n"


def _section(family: str, found: list[Endpoint]) -> str:
    lines = [f"## {family}", ""]
    if family in FAMILIES:
        lines += [FAMILIES[family], ""]
    lines += ["| endpoint | | parameters |", "|---|---|---|"]
    lines += [f"| `{one.method} {one.path}` | {one.word} | {_parameters(one)} |" for one in found]
    return "\n".join(lines) + "\n"


def _parameters(endpoint: Endpoint) -> str:
    """The parameters by word; those of an endpoint that is not there are n/a."""
    if endpoint.word != SUPPORTED:
        return "n/a"
    words = (SUPPORTED, ACCEPTED, REMOTE, REFUSED, IGNORED)
    told = [(word, [name for name, its in endpoint.parameters.items() if its == word]) for word in words]
    return "; ".join(f"{word}: {_named(names, endpoint.notes)}" for word, names in told if names) or "none"


def _named(names: list[str], notes: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}`" + (f" ({notes[name]})" if name in notes else "") for name in names)


def _judged(name: str, documented: Mapping[str, list[str]], handlers: Mapping[str, FunctionType]) -> Endpoint:
    method, _, path = name.partition(" ")
    handler = handlers.get(anonymous(f"{method} /v1{path}"))
    if handler is None:
        return Endpoint(method, path, REFUSED if path.split("/")[1] in FAMILIES else NOT_BUILT, {}, {})
    read = Reading(handler)
    words = {one: SUPPORTED if read.reads(one) else IGNORED for one in documented["query"]}
    words |= {one: _word(one, read.models, _FORM_FIELDS.get(name, set())) for one in documented["body"]}
    notes = {one: text for model in read.models for one, text in getattr(model, "_partly", {}).items()}
    return Endpoint(method, path, SUPPORTED, words, notes)


def _word(name: str, models: set[type[BaseModel]], form: set[str]) -> str:
    """What the schemas of a body say of one parameter."""
    for word, list_name in ((REFUSED, "_not_built"), (REMOTE, "_of_remote_models"), (ACCEPTED, "_labels")):
        if any(name in getattr(model, list_name, ()) for model in models):
            return word
    return SUPPORTED if name in form or any(name in model.model_fields for model in models) else IGNORED


def main(command: str) -> int:
    """Run one of the two commands and return the exit code."""
    if command == "write":
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        print("docs/compatibility.md is not what the code says: run `make compatibility` and commit.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["write"], ["check"]):
        sys.exit("usage: python -m deploy.compatibility write|check")
    sys.exit(main(sys.argv[1]))
