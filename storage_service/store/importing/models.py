"""Models: a folder each, with its weights if they are in the archive. Nobody's model is replaced."""

import os
from collections.abc import Generator, Iterator
from itertools import accumulate
from pathlib import Path

from jan.errors import InvalidArgumentError
from jan.ids import ModelId
from storage_service.store import jsonfile, layout, yamlfile
from storage_service.store.files import plain_size
from storage_service.store.importing import names
from storage_service.store.importing.contents import Folder
from storage_service.store.importing.sameness import is_same
from storage_service.store.importing.workshop import Steps, Workshop


class ModelImport:
    """Builds models. `planned` has those that are to be published, by their place below the janroot."""

    def __init__(self, shop: Workshop, where: layout.Layout) -> None:
        self._shop = shop
        self._layout = where
        self.planned: dict[str, Path] = {}

    def folder(self, place: str, source: Folder) -> Steps:
        """A model's folder; `place` is where it lay below its own janroot."""
        home, old = _split(place)
        name = _usable(old)
        if name is None:
            self._shop.report.refused(source.path, "A model's folder may lie at most three levels deep.")
            return
        target = f"{home}/{name}"
        if target in self.planned or not self._is_free(target):
            if target not in self.planned and (yield from self._is_here(self._layout.root / target, source)):
                self._shop.report.already_here("model", old, name)
            else:
                self._shop.report.refused(source.path, "Another model is here under its id; that was left as it is.")
            return
        built = self._shop.new_folder("models")
        for inner, entry in source.files.items():
            yield from self._shop.extract(entry, built / inner)
        if _is_broken(built):
            self._shop.drop(built)
            yield from self._shop.quarantine_all(source.files.values(), "Its description cannot be read.")
            return
        self.planned[target] = built
        self._shop.report.came_in("model", old, name)

    def _is_free(self, target: str) -> bool:
        """Nothing is there, and no model or link on the way to it."""
        steps = [self._layout.root / step for step in accumulate(target.split("/"), os.path.join)]
        on_the_way = (os.path.islink(step) or (step / layout.MODEL_FILE).exists() for step in steps[:-1])
        return not os.path.lexists(steps[-1]) and not any(on_the_way)

    def _is_here(self, target: Path, source: Folder) -> Generator[int, None, bool]:
        """The same descriptions, and the same weights where the archive has them."""
        for name, entry in source.files.items():
            if plain_size(target / name) != entry.size_bytes:
                return False
            if not (yield from is_same(target / name, self._shop.pieces(entry))):
                return False
        return True


def _is_broken(folder: Path) -> bool:
    """Whether the file that must describe the model does not."""
    described = folder / layout.MODEL_FILE
    if described.exists():
        return jsonfile.read(described) is None
    return any(path.exists() and yamlfile.read(path) is None for path in _yaml_files(folder))


def _yaml_files(folder: Path) -> Iterator[Path]:
    return (folder / name for name in ("model.yml", "model.yaml"))


def _split(place: str) -> tuple[str, str]:
    """Where models lie, and the model's id there."""
    parts = place.split("/")
    depth = 1 if parts[0] == "models" else 2
    return "/".join(parts[:depth]), "/".join(parts[depth:])


def _usable(old: str) -> str | None:
    made = "/".join(names.usable(ModelId, part) for part in old.split("/"))
    try:
        return ModelId.parse(made)
    except InvalidArgumentError:
        return None
