"""Options of searches, files and batches that are misspelt, or wrong deep inside: errors name the one that is meant."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from gateway.http.body import validate
from gateway.schemas.assistants import CreateAssistant
from gateway.schemas.batches import CreateBatch
from gateway.schemas.completions import CompletionRequest
from gateway.schemas.embeddings import EmbeddingsRequest
from gateway.schemas.files import read_fields
from gateway.schemas.responses import CreateResponse
from gateway.schemas.uploads import CompleteUpload, CreateUpload
from gateway.schemas.vector_stores import (
    CreateFileBatch,
    CreateVectorStore,
    CreateVectorStoreFile,
    ModifyVectorStore,
    SearchVectorStore,
    UpdateAttributes,
)
from jan.errors import InvalidArgumentError

UNKNOWN, TYPE, VALUE, MISSING = "unknown_parameter", "invalid_type", "invalid_value", "missing_required_parameter"
EQ = {"type": "eq", "key": "k", "value": 1}
STATIC = {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}
BATCH = {"input_file_id": "file-a", "endpoint": "/v1/embeddings", "completion_window": "24h"}
UPLOAD = {"filename": "a", "purpose": "batch", "bytes": 1, "mime_type": "text/plain"}


def refused(model: type[BaseModel], body: dict[str, Any]) -> tuple[str, str | None]:
    """The parameter and the code of the refusal."""
    with pytest.raises(InvalidArgumentError) as refusal:
        validate(body, model)
    assert refusal.value.param in refusal.value.message
    return refusal.value.param, refusal.value.code


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"max_num_result": 5}, "max_num_result", UNKNOWN),
        ({"Filters": EQ}, "Filters", UNKNOWN),
        ({"ranking_options": {"score_treshold": 0.5}}, "ranking_options.score_treshold", UNKNOWN),
        (
            {"ranking_options": {"hybrid_search": {"embedding_weight": 1, "text_wieght": 1}}},
            "ranking_options.hybrid_search.text_wieght",
            UNKNOWN,
        ),
        ({"filters": EQ | {"values": 1}}, "filters.values", UNKNOWN),
        ({"filters": {"type": "eq", "key": "k", "val": 1}}, "filters.val", UNKNOWN),
        ({"filters": {"type": "and", "filter": [EQ]}}, "filters.filter", UNKNOWN),
        ({"filters": {"type": "nand", "filters": [EQ]}}, "filters.type", VALUE),
        ({"filters": {"key": "k", "value": 1}}, "filters.type", MISSING),
        ({"filters": {"filters": [EQ]}}, "filters.type", MISSING),
        ({"filters": {"type": "and", "filters": []}}, "filters.filters", "empty_array"),
        ({"filters": {"type": "or", "filters": [EQ, {"type": "eq", "key": "k"}]}}, "filters.filters[1].value", MISSING),
        (
            {"filters": {"type": "or", "filters": [{"type": "and", "filters": [EQ | {"value": None}]}]}},
            "filters.filters[0].filters[0].value",
            TYPE,
        ),
        ({"filters": {"type": "in", "key": "k", "value": ["a", True]}}, "filters.value[1]", TYPE),
        ({"filters": {"type": "in", "key": "k", "value": "a"}}, "filters.value", VALUE),
        ({"filters": EQ | {"value": [1]}}, "filters.value", VALUE),
        ({"query": ["a", 5]}, "query[1]", TYPE),
        ({"query": ["a", ""]}, "query[1]", "empty_string"),
        ({"query": 5}, "query", TYPE),
        ({"query": []}, "query", "empty_array"),
    ],
)
def test_searches(fields: dict[str, Any], param: str, code: str) -> None:
    assert refused(SearchVectorStore, {"query": "a", **fields}) == (param, code)


@pytest.mark.parametrize(
    ("strategy", "param", "code"),
    [
        ({"type": "statc", "static": STATIC}, "chunking_strategy.type", VALUE),
        ({"static": STATIC}, "chunking_strategy.type", MISSING),
        ({"type": "auto", "static": STATIC}, "chunking_strategy.static", UNKNOWN),
        ({"type": "static"}, "chunking_strategy.static", MISSING),
        ({"type": "static", "statics": STATIC}, "chunking_strategy.statics", UNKNOWN),
        ({"type": "static", "static": STATIC | {"overlap": 1}}, "chunking_strategy.static.overlap", UNKNOWN),
        (
            {"type": "static", "static": STATIC | {"max_chunk_size_tokens": 99}},
            "chunking_strategy.static.max_chunk_size_tokens",
            "integer_below_min_value",
        ),
        (
            {"type": "static", "static": STATIC | {"chunk_overlap_tokens": 401}},
            "chunking_strategy.static.chunk_overlap_tokens",
            VALUE,
        ),
        ("auto", "chunking_strategy", TYPE),
    ],
)
def test_chunks(strategy: Any, param: str, code: str) -> None:
    assert refused(CreateVectorStoreFile, {"file_id": "file-a", "chunking_strategy": strategy}) == (param, code)
    batch = {"files": [{"file_id": "file-b"}, {"file_id": "file-a", "chunking_strategy": strategy}]}
    assert refused(CreateFileBatch, batch) == (f"files[1].{param}", code)


@pytest.mark.parametrize(
    ("model", "body", "param", "code"),
    [
        (CreateVectorStore, {"expire_after": {}}, "expire_after", UNKNOWN),
        (
            CreateVectorStore,
            {"expires_after": {"anchor": "last_active_at", "day": 7}},
            "expires_after.day",
            UNKNOWN,
        ),
        (ModifyVectorStore, {"metdata": None}, "metdata", UNKNOWN),
        (CreateVectorStoreFile, {"file_id": "file-a", "attribute": {}}, "attribute", UNKNOWN),
        (UpdateAttributes, {"attributes": {"size": None}}, "attributes.size", TYPE),
        (UpdateAttributes, {"attributes": {"size": [1]}}, "attributes.size", TYPE),
        (UpdateAttributes, {"attributes": {"size": "x" * 513}}, "attributes.size", "string_above_max_length"),
        (CreateBatch, {**BATCH, "output_expire_after": {}}, "output_expire_after", UNKNOWN),
        (
            CreateBatch,
            {**BATCH, "output_expires_after": {"anchor": "created_at", "days": 1}},
            "output_expires_after.days",
            UNKNOWN,
        ),
        (CreateUpload, {**UPLOAD, "expires": 1}, "expires", UNKNOWN),
        (CompleteUpload, {"part_ids": ["part_a"], "MD5": "0" * 32}, "MD5", UNKNOWN),
        (
            CreateAssistant,
            {"model": "m", "tools": [{"type": "file_search", "file_search": {"max_num_result": 1}}]},
            "tools[0].file_search.max_num_result",
            UNKNOWN,
        ),
        (
            CreateResponse,
            {"model": "m", "tools": [{"type": "file_search", "vector_store_ids": ["vs_a"], "filter": {}}]},
            "tools[0].filter",
            UNKNOWN,
        ),
    ],
)
def test_others(model: type[BaseModel], body: dict[str, Any], param: str, code: str) -> None:
    assert refused(model, body) == (param, code)


@pytest.mark.parametrize(
    ("value", "place", "code"),
    [
        (["a", 5], "[1]", TYPE),
        (["a", [1]], "[1]", TYPE),
        (["a", ""], "[1]", "empty_string"),
        (["a", "b\0"], "[1]", VALUE),
        ([1, "a"], "[1]", TYPE),
        ([1, -1], "[1]", "integer_below_min_value"),
        ([[1], "a"], "[1]", TYPE),
        ([[1], []], "[1]", "empty_array"),
        ([[1], [2, 2**40]], "[1][1]", "integer_above_max_value"),
        ([True], "[0]", TYPE),
        ({"text": "a"}, "", TYPE),
        ([], "", "empty_array"),
    ],
)
def test_inputs(value: Any, place: str, code: str) -> None:
    assert refused(EmbeddingsRequest, {"model": "m", "input": value}) == (f"input{place}", code)
    assert refused(CompletionRequest, {"model": "m", "prompt": value}) == (f"prompt{place}", code)


@pytest.mark.parametrize(
    ("sent", "read"), [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])]
)
def test_inputs_are_lists_when_they_are_read(sent: Any, read: Any) -> None:
    request = validate({"model": "m", "input": sent}, EmbeddingsRequest)
    assert (request.input, request.model_dump()["input"]) == (read, read)


def test_filters_of_every_form_are_as_they_were_sent() -> None:
    listed = {"type": "in", "key": "k", "value": ["a", 1, 2.5]}
    filters = {"type": "or", "filters": [EQ, listed, {"type": "and", "filters": [EQ | {"value": True}]}]}
    request = validate({"query": "a", "filters": filters}, SearchVectorStore)
    assert request.filters is not None
    assert request.filters.model_dump() == filters


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"expire_after[seconds]": "3600"}, "expire_after[seconds]"),
        ({"expires_after[anchor]": "created_at", "expires_after[second]": "3600"}, "expires_after.second"),
        ({"purposes": "batch"}, "purposes"),
    ],
)
def test_fields_of_a_form(fields: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidArgumentError) as refusal:
        read_fields({"purpose": "assistants", **fields})
    assert (refusal.value.param, refusal.value.code) == (param, UNKNOWN)
