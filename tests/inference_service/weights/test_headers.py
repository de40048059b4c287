from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference_service.weights import headers
from inference_service.weights.gguf_files import GgufFiles
from inference_service.weights.headers import Headers
from jan.formats.description import ModelDescription
from jan.formats.weights import describe_gguf_files
from tests.fixtures.tiny_models import tiny_gguf


def test_headers_are_read_once_for_each_state_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_gguf())
    reads: list[int] = []

    def counted(paths: list[Path], adapter: Path | None, projector: Path | None) -> ModelDescription:
        reads.append(paths[0].stat().st_size)
        return describe_gguf_files(paths, adapter, projector)

    monkeypatch.setattr(headers, "describe_gguf_files", counted)
    known = Headers()
    files = GgufFiles([path])
    assert known.gguf(files) is known.gguf(files)
    assert len(reads) == 1
    path.write_bytes(tiny_gguf(8192))
    assert known.gguf(files).weights_bytes == 8192
    os.utime(path, ns=(0, 0))
    known.gguf(files)
    assert len(reads) == 3
