"""What model files say of themselves, read once for each state of the files: a load asks twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

from inference_service.weights.adapters import base_of
from inference_service.weights.files import WeightHomes
from inference_service.weights.gguf_files import GgufFiles
from inference_service.weights.hf_folder import SafetensorsModel, read_model
from jan.formats.description import ModelDescription
from jan.formats.weights import describe_gguf_files
from jan.inference.v1.jobs_pb2 import ModelSpec

_MOST_REMEMBERED: Final = 64

ReadT = TypeVar("ReadT")


class Headers:
    """Reads files: not for the event loop. A file that was touched since is read again."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._read: dict[object, Any] = {}

    def gguf(self, files: GgufFiles) -> ModelDescription:
        """A GGUF model, its headers believed, with its adapter and its projector. Raises as `describe_gguf_files`."""
        more = [path for path in (files.adapter, files.projector) if path is not None]
        state = ("gguf", *_states(files.model), files.adapter is None, *_states(more))
        return self._once(state, lambda: describe_gguf_files(files.model, files.adapter, files.projector))

    def safetensors(self, spec: ModelSpec, homes: WeightHomes) -> SafetensorsModel:
        """A model in a folder, and its adapter. Raises as `read_model`."""
        folders = [homes.folder(spec.id, spec.folder)]
        base = base_of(spec)
        if base is not None:
            folders.append(homes.folder(base.id, base.folder))
        files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
        return self._once((spec.id, *map(str, folders), *_states(files)), lambda: read_model(spec, homes))

    def _once(self, state: object, read: Callable[[], ReadT]) -> ReadT:
        if state not in self._read:
            self._read[state] = read()
            while len(self._read) > _MOST_REMEMBERED:
                self._read.pop(next(iter(self._read)), None)
        found: ReadT = self._read[state]
        return found


def _states(paths: Iterable[Path]) -> list[tuple[str, int, int, int]]:
    """What tells a file from what was at its place before."""
    stats = [(path, path.stat()) for path in paths]
    return [(str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
