from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from openai.types import Model

from gateway.convert.models import model_from_proto
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
    }
