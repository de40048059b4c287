from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from openai.types import Model

from gateway.convert.models import model_from_proto
from jan.errors import UnavailableError
from jan.inference.v1 import control_pb2
from jan.storage.v1 import models_pb2


def test_a_model_is_openais_with_jans_fields() -> None:
    answer = model_from_proto(
        models_pb2.Model(
            id="vendor/m",
            created_at=Timestamp(seconds=7),
            owned_by="you",
            name="M",
            description="Small",
            version="1.0",
            engine="llamacpp",
            format="gguf",
            settings_json='{"ctx_len":2048}',
            parameters_json='{"temperature":0.7}',
            metadata_json='{"tags":["7B"],"size":5}',
            files=["m.gguf"],
            source_url="https://somewhere.example",
        )
    )
    Model.model_validate(answer, strict=True)
    assert answer == {
        "id": "vendor/m",
        "object": "model",
        "created": 7,
        "owned_by": "you",
        "name": "M",
        "description": "Small",
        "version": "1.0",
        "engine": "llamacpp",
        "format": "gguf",
        "settings": {"ctx_len": 2048},
        "parameters": {"temperature": 0.7},
        "metadata": {"tags": ["7B"], "size": 5},
        "size_bytes": None,
        "sees": False,
        "ctx_len": None,
        "state": "ready",
        "progress": None,
        "activity": None,
        "warnings": [],
        "error": None,
        "placements": [],
    }


def test_a_host_says_the_state_the_warnings_and_the_error() -> None:
    status = control_pb2.ModelStatus(
        model_id="m", state=control_pb2.MODEL_STATE_ERROR, warnings=["ctx_len is ignored."]
    )
    status.error.CopyFrom(UnavailableError("The file is missing.", code="model_file_missing").to_detail())
    model = model_from_proto(models_pb2.Model(id="m"), status)
    assert (model["state"], model["warnings"]) == ("error", ["ctx_len is ignored."])
    assert model["error"] == {"code": "model_file_missing", "message": "The file is missing."}


def test_parameters_that_change_nothing_are_named_beside_the_hosts_warnings() -> None:
    status = control_pb2.ModelStatus(model_id="m", warnings=["ctx_len is ignored."])
    model = model_from_proto(models_pb2.Model(id="m", engine="vllm", parameters_json='{"tfs_z":1,"top_p":1}'), status)
    assert model["warnings"] == ["ctx_len is ignored.", "Parameter tfs_z is not used."]
    assert status.warnings == ["ctx_len is ignored."]


def test_a_file_that_came_since_is_no_longer_missing() -> None:
    status = control_pb2.ModelStatus(model_id="m", state=control_pb2.MODEL_STATE_ERROR)
    status.error.CopyFrom(UnavailableError("The file is missing.", code="model_file_missing").to_detail())
    model = models_pb2.Model(id="m", size_bytes=5)
    model.sources.add(filename="b", url="https://example.com/b")
    here = model_from_proto(model, status)
    assert (here["state"], here["error"]) == ("ready", None)
    model.missing_files.append("b")
    assert model_from_proto(model, status)["state"] == "error"


def test_what_a_load_would_warn_of_is_told_until_one_has_warned() -> None:
    preview = control_pb2.ModelPreview(warnings=["swap is ignored."], ctx_len=2048)
    preview.error.CopyFrom(UnavailableError("The file is cut off.").to_detail())
    model = models_pb2.Model(id="m")
    told = model_from_proto(model, None, preview)
    assert (told["state"], told["ctx_len"], told["error"]) == ("ready", 2048, None)
    assert told["warnings"] == ["swap is ignored.", "The file is cut off."]
    running = control_pb2.ModelStatus(state=control_pb2.MODEL_STATE_RUNNING)
    assert model_from_proto(model, running, preview)["warnings"] == []
    model.missing_files.append("m.gguf")
    assert model_from_proto(model, None, preview)["warnings"] == ["swap is ignored."]
