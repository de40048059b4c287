"""The OpenAPI document: it is valid, and it knows every route and all that handlers read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.app import build_app
from gateway.http.guard import OPEN_ROUTES
from gateway.openapi.answers import OURS, answer_of
from gateway.openapi.components import OpenAI
from gateway.openapi.document import VERSION, document
from gateway.openapi.parameters import QUERY, path_names, query_names
from gateway.openapi.reading import Reading, routes_of
from gateway.settings import GatewaySettings

Document = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def app() -> web.Application:
    return build_app(GatewaySettings.from_environment({}))


@pytest.fixture(scope="module")
def told(app: web.Application) -> Document:
    return document(app)


@pytest.mark.slow
def test_it_is_a_valid_document_of_openapi(told: Document) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(told).iter_errors()] == []


def test_every_route_is_in_it_and_no_other(app: web.Application, told: Document) -> None:
    operations = {f"{method.upper()} {path}" for path, item in told["paths"].items() for method in item}
    assert operations == {route.name for route in routes_of(app)}


def test_every_route_says_what_it_answers(app: web.Application) -> None:
    openai = OpenAI.read()
    silent = [route.name for route in routes_of(app) if answer_of(route.anonymous, openai.answers) is None]
    assert silent == [], "OpenAI does not document these: add a line for each to OURS in gateway/openapi/answers.py"


def test_no_line_is_about_a_route_that_is_gone(app: web.Application) -> None:
    assert OURS.keys() - {route.anonymous for route in routes_of(app)} == set()


def test_every_schema_that_is_named_is_there(told: Document) -> None:
    named = set(re.findall(r"#/components/schemas/([A-Za-z0-9._-]+)", str(told)))
    assert named - told["components"]["schemas"].keys() == set()


def test_every_parameter_that_is_read_is_explained(app: web.Application) -> None:
    read = {name for route in routes_of(app) for name in query_names(route, Reading(route.handler))}
    assert read == QUERY.keys(), "QUERY in gateway/openapi/parameters.py names what handlers read of their queries"


def test_operations_are_whole(told: Document) -> None:
    ids: list[str] = []
    for path, item in told["paths"].items():
        for operation in item.values():
            ids.append(operation["operationId"])
            assert operation["summary"]
            of_path = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
            assert of_path == path_names(path)
            assert operation.get("security") == ([] if path in OPEN_ROUTES else None), path
    assert len(ids) == len(set(ids))


def test_links_lead_to_what_may_be_done_with_what_was_made(told: Document) -> None:
    links = told["paths"]["/v1/threads/{thread_id}/runs"]["post"]["responses"]["200"]["links"]
    both = {"thread_id": "$request.path.thread_id", "run_id": "$response.body#/id"}
    assert links["runs_cancel_run"] == {"operationId": "runs_cancel_run", "parameters": both}
    assert links.keys() >= {"runs_get_run", "runs_submit_tool_outputs", "runs_list_run_steps"}
    operations = {one["operationId"]: path for path, methods in told["paths"].items() for one in methods.values()}
    for methods in told["paths"].values():
        for operation in methods.values():
            for link in operation["responses"].get("200", {}).get("links", {}).values():
                assert set(re.findall(r"{(\w+)}", operations[link["operationId"]])) == link["parameters"].keys()


def test_other_spellings_say_what_they_are(told: Document) -> None:
    assert told["paths"]["/v1/threads/{thread_id}"]["patch"]["x-alias-of"] == "threads_modify_thread"
    assert told["paths"]["/v1/assistant/{assistant_id}"]["delete"]["x-alias-of"] == "assistants_delete_assistant"
    assert "x-alias-of" not in told["paths"]["/v1/threads/{thread_id}"]["post"]


def test_jans_fields_stand_in_openais_objects(told: Document) -> None:
    schemas = told["components"]["schemas"]
    assert {"id", "tool_resources", "assistants", "title"} <= {*schemas["ThreadObject"]["required"]}
    assert schemas["Request.CreateThread"]["properties"].keys() >= {"messages", "assistants", "metadata"}


def test_its_version_is_the_packages() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"] == VERSION
