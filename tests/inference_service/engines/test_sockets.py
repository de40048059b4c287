"""No two engine processes share a socket, however alike what they load; nothing of them stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inference_service.engines.llamacpp import LlamaCppEngine
from inference_service.engines.sockets import new_socket, remove_left_over
from inference_service.engines.vllm import VllmEngine
from inference_service.memory.placement import Placement
from inference_service.weights.gguf_files import GgufFiles
from inference_service.weights.hf_folder import SafetensorsModel
from jan.formats.description import ModelDescription
from jan.formats.hf_folder import HfModel
from jan.inference.v1.jobs_pb2 import ModelSpec
from tests.inference_service.bench import LOAD_TIMEOUT

HERE = Placement((), "")


def vllm(run_dir: Path, *, configuration: str = "") -> VllmEngine:
    spec = ModelSpec(id="m", engine="vllm", configuration=configuration)
    model = SafetensorsModel(HfModel(Path("/models/m"), ModelDescription(1), ""))
    return VllmEngine(spec, model, HERE, python=Path("python3"), run_dir=run_dir, load_timeout=LOAD_TIMEOUT)


def llamacpp(run_dir: Path, *, configuration: str = "") -> LlamaCppEngine:
    spec = ModelSpec(id="m", engine="llamacpp", configuration=configuration)
    return LlamaCppEngine(spec, GgufFiles([Path("m.gguf")]), HERE, run_dir, LOAD_TIMEOUT)


@pytest.mark.parametrize("make", [vllm, llamacpp])
def test_two_engines_of_one_model_on_the_same_devices_listen_apart(
    make: Callable[..., VllmEngine | LlamaCppEngine], tmp_path: Path
) -> None:
    engines = [make(tmp_path), make(tmp_path), make(tmp_path, configuration="other")]
    assert len({engine._connection.socket_path for engine in engines}) == 3


def test_what_a_killed_service_left_is_removed(tmp_path: Path) -> None:
    remove_left_over(tmp_path)  # no folder yet
    socket = new_socket(tmp_path)
    socket.parent.mkdir()
    kept = socket.with_name("tmp-of-a-guard")
    for path in (socket, socket.with_suffix(".jinja"), kept):
        path.touch()
    remove_left_over(tmp_path)
    assert list(socket.parent.iterdir()) == [kept]
