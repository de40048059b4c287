"""Weights that somebody put below `models/` without a word: served under their own name, as desktop Jan took them in.

Jan wrote a model.json from the file's name. Here nothing is written until somebody changes the model; what is not
finished yet, or no model at all, says so when it is loaded.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from storage_service.store.model_imports.selection import SHARD, usable
from storage_service.store.records import JsonObject


@dataclass(frozen=True, slots=True)
class Dropped:
    """Weights that no file describes: what the model is called, and its files, the first one first.

    own_id: what it is called when others come to lie beside it; asked for by that, it is found as well.
    """

    id: str
    files: tuple[str, ...]
    own_id: str

    def description(self) -> JsonObject:
        """The model.json that it would have."""
        is_gguf = self.files[0].endswith(".gguf")
        return {
            "sources": [{"filename": name, "url": "N/A"} for name in self.files],
            "id": self.own_id,
            "object": "model",
            "name": self.id.rpartition("/")[2],
            "version": "1.0",
            "description": "User self import model",
            "format": "gguf" if is_gguf else "safetensors",
            "settings": {"llama_model_path": self.files[0]} if is_gguf else {},
            "parameters": {},
            "metadata": {"author": "User", "tags": []},
            "engine": "llamacpp" if is_gguf else "vllm",
        }


def dropped(prefix: str, names: Collection[str]) -> Iterator[Dropped]:
    """What the plain files of a folder that describes nothing make; `prefix` is its place below `models/`.

    A folder's only model is called as the folder; several, and those in `models/` itself, as their files.
    """
    if prefix and "config.json" in names:
        weights = tuple(sorted(name for name in names if name.endswith(".safetensors")))
        if weights:
            yield Dropped(prefix, weights, prefix)
            return
    models = _ggufs(names)
    for stem, files in models.items():
        name = f"{prefix}/{usable(stem)}" if prefix else usable(stem)
        yield Dropped(prefix if prefix and len(models) == 1 else name, files, name)


def came_ms(path: Path) -> int:
    """When a file came to its place, whatever time it bears: the oldest model answers those who name none."""
    try:
        return os.stat(path, follow_symlinks=False).st_ctime_ns // 1_000_000
    except OSError:
        return 0


def _ggufs(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The GGUF models by name, each with its parts in their order; projectors for images are none."""
    models: dict[str, tuple[str, ...]] = {}
    for name in sorted(names):
        if name.endswith(".gguf") and "mmproj" not in name.lower() and not name.startswith("."):
            shard = SHARD.fullmatch(name)
            stem = shard["stem"] if shard else name.removesuffix(".gguf")
            models[stem] = (*models.get(stem, ()), name)
    return models
