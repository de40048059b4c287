"""Models: folders with a model.json, up to three levels below `models/`. Only read here."""

import os
from collections.abc import Iterator
from pathlib import Path

from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import ModelId
from jan.telemetry import get_logger
from storage_service.store import jsonfile, layout
from storage_service.store.forms import models as form
from storage_service.store.records import Model

logger = get_logger(__name__)

_MAX_DEPTH = 3


class Models:
    """Read and list models, from disk each time: there are few, and people add them by hand."""

    def __init__(self, where: layout.Layout) -> None:
        self._layout = where

    def get(self, model_id: ModelId) -> Model:
        """Read a model. Raises NotFoundError."""
        path = self._layout.model(model_id) / layout.MODEL_FILE
        raw = jsonfile.read(path)
        if raw is None:
            raise NotFoundError(f"The model '{model_id}' does not exist.", code="model_not_found", param="model")
        return form.from_json(model_id, raw, jsonfile.changed_ms(path) or 0)

    def all(self) -> list[Model]:
        """Every model with a readable model.json, by id."""
        found = []
        for name in _folders(self._layout.models):
            try:
                found.append(self.get(ModelId.parse(name)))
            except (NotFoundError, InvalidArgumentError):
                logger.warning("model skipped: its model.json or its name is not usable", folder=name)
        return sorted(found, key=lambda model: model.id)


def _folders(home: Path, prefix: str = "", depth: int = 1) -> Iterator[str]:
    """The folders with a model.json, as paths below `home`."""
    try:
        with os.scandir(home) as entries:
            folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except PermissionError:
        logger.warning("folder skipped: not allowed to look inside", folder=prefix)
        return
    for folder in folders:
        name = prefix + folder.name
        if os.path.lexists(os.path.join(folder.path, layout.MODEL_FILE)):
            yield name
        elif depth < _MAX_DEPTH:
            yield from _folders(Path(folder.path), f"{name}/", depth + 1)
