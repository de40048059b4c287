from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference_service import headers
from inference_service.headers import Headers
from jan.formats.description import ModelDescription
from jan.formats.weights import describe_gguf_files
from tests.fixtures.tiny_models import tiny_gguf


def test_headers_are_read_once_for_each_state_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_gguf())
    reads: list[int] = []

    def counted(paths: list[Path]) -> ModelDescription:
        reads.append(paths[0].stat().st_size)
        return describe_gguf_files(paths)

    monkeypatch.setattr(headers, "describe_gguf_files", counted)
    known = Headers()
    assert known.gguf([path]) is known.gguf([path])
    assert len(reads) == 1
    path.write_bytes(tiny_gguf(8192))
    assert known.gguf([path]).weights_bytes == 8192
    os.utime(path, ns=(0, 0))
    known.gguf([path])
    assert len(reads) == 3
