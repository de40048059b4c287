"""Models: what describes them, in all of Jan's places and forms. Only read here.

models/<id>/model.json              Jan 0.2 to 0.5, and ours; up to three levels deep
models/<folder>/<name>.json         the draft of 2023: any number in a folder
models/…/model.yml, <name>.yml      cortex
llamacpp/models/<id>/model.yml      Jan 0.6 on; mlx/models/ for Apple's engine
models/<name>.gguf, models/<id>/…   weights that nothing describes; see `dropped`
assistants/<assistant>/models/…     an assistant's own, as Jan's specification has them; weights only, see `is_guest`
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from jan.errors import InvalidArgumentError, NotFoundError
from jan.formats.file_names import is_tellable
from jan.formats.vision import blinded
from jan.ids import ModelId
from jan.telemetry import get_logger
from storage_service.store import jsonfile, layout, plain, yamlfile
from storage_service.store.dropped import Dropped, came_ms, dropped
from storage_service.store.forms import fields, yaml_models
from storage_service.store.forms import models as form
from storage_service.store.records import BaseModel, JsonObject, Model
from storage_service.store.revisions import revision_of
from storage_service.store.sight import sees

logger = get_logger(__name__)

GUESTS = "assistants/"

_MAX_DEPTH = 3
_YAML = (".yml", ".yaml")
_HOME = re.compile(r"(llamacpp/|mlx/|assistants/[^/]+/)?models")
_HOME_FILES = frozenset({"model.yml", "model.yaml"})
# What lies beside weights and describes no model; some are too long to be read each time.
_NOT_DRAFTS = ("config", "tokenizer", "generation_config", "special_tokens", "added_tokens", "vocab", "preprocessor")


@dataclass(frozen=True, slots=True)
class Description:
    """A file that describes a model, and where it lies. `engine` is what runs the models of that place by default."""

    id: str
    path: Path
    folder: str
    engine: str = ""
    present: frozenset[str] = field(default=frozenset(), repr=False)
    weights: Dropped | None = None
    """Weights that no file describes; `path` is the first of them then."""

    @property
    def is_sure(self) -> bool:
        """Whether the file's name alone says that it describes a model."""
        return self.path.name == layout.MODEL_FILE or self.path.name in _HOME_FILES

    @property
    def is_guest(self) -> bool:
        """Whether it came along with an assistant, so perhaps from a stranger.

        A remote one could have conversations, or our requests, sent to where its author wants; it is not served.
        """
        return self.folder.startswith(GUESTS)

    @property
    def is_at_home(self) -> bool:
        """Whether it lies in a folder of models, so not in one of its own."""
        return bool(_HOME.fullmatch(self.folder))

    def read(self) -> JsonObject | None:
        """What it says, in the shape of model.json; None when it cannot be read or describes no model."""
        return self.look()[0]

    def look(self) -> tuple[JsonObject | None, str]:
        """The same with its revision."""
        if self.weights is not None:
            return self.weights.description(), revision_of("\n".join(self.weights.files).encode())
        if self.path.suffix in _YAML:
            # The revision first: whoever changes what he did not see is refused then.
            return self._look_at_yaml(jsonfile.look(self.path).revision)
        found = jsonfile.look(self.path)
        is_model = found.value is None or self.is_sure or form.is_model(found.value)
        return found.value if is_model else None, found.revision

    def _look_at_yaml(self, revision: str) -> tuple[JsonObject | None, str]:
        raw = yamlfile.read(self.path)
        if raw is None or not (self.is_sure or yaml_models.is_model(raw)):
            return None, revision
        return yaml_models.to_model_json(raw, self.engine), revision


@dataclass(frozen=True, slots=True)
class Served:
    """A model, and the description that it was read from."""

    model: Model
    description: Description
    raw: JsonObject


class Models:
    """Read and list models, from disk each time: there are few, and people add them by hand."""

    def __init__(self, where: layout.Layout) -> None:
        self._layout = where

    def get(self, model_id: ModelId) -> Model:
        """Read a model, by its id here or else by the one that its own file names. Raises NotFoundError."""
        return self.find(model_id).model

    def find(self, model_id: ModelId) -> Served:
        """The same with where it was found. Raises NotFoundError."""
        served = self._find(model_id)
        return replace(served, model=self._with_base(served.model))

    def _find(self, model_id: ModelId) -> Served:
        folder = self._layout.model(model_id)
        usual = Description(model_id, folder / layout.MODEL_FILE, f"models/{model_id}", present=_names(folder))
        served = self._served(usual)
        if served is None:
            found = self.readable()
            same = [item for item in found if item[0].id == model_id]
            alike = [item for item in found if fields.text(item[1], "id") == model_id]
            served = next((self._served(description) for description, _ in same + alike), None)
        if served is None:
            raise NotFoundError(f"The model '{model_id}' does not exist.", code="model_not_found", param="model")
        return served

    def all(self) -> list[Model]:
        """Every model whose description can be read, by id."""
        found: dict[str, Model] = {}
        for description, raw in self._readable():
            model = None if raw is None else self._model(description, raw)
            if model is None:
                logger.warning("model skipped: its description or its name is not usable", folder=description.folder)
            else:
                found.setdefault(model.id, model)
        return [self._with_base(found[model_id]) for model_id in sorted(found)]

    def descriptions(self) -> Iterator[Description]:
        """Every file that may describe a model; of two for one id the first one counts."""
        yield from _below(self._layout.models, "models", "")
        yield from _below(self._layout.root / "llamacpp" / "models", "llamacpp/models", "llamacpp")
        yield from _below(self._layout.root / "mlx" / "models", "mlx/models", "mlx")
        for home in sorted(self._layout.assistants.glob("*/models")):
            if not home.is_symlink() and not home.parent.is_symlink():
                yield from _below(home, f"{GUESTS}{home.parent.name}/models", "")

    def readable(self) -> list[tuple[Description, JsonObject]]:
        """Every description that can be read, with what it says."""
        return [(description, raw) for description, raw in self._readable() if raw is not None]

    def files(self, description: Description, raw: JsonObject) -> tuple[str, ...]:
        """The weights that a description names, relative to its folder; none when it is not usable."""
        model = self._model(description, raw)
        return () if model is None else model.files

    def _readable(self) -> Iterator[tuple[Description, JsonObject | None]]:
        """All descriptions with what they say; files that only might have been one are left out."""
        for description in self.descriptions():
            raw = description.read()
            if raw is not None or description.is_sure:
                yield description, raw

    def _with_base(self, model: Model) -> Model:
        """A LoRA adapter with what is known of the model that it belongs to."""
        base_id = fields.text(model.settings, "base_model")
        if not base_id:
            return model
        try:
            base = self._find(ModelId.parse(base_id)).model
        except (InvalidArgumentError, NotFoundError):
            return model
        sees = base.sees and not blinded(model.settings)
        return replace(model, base=BaseModel(base.id, base.engine, base.files, base.folder), sees=sees)

    def _served(self, description: Description) -> Served | None:
        raw, revision = description.look()
        model = None if raw is None else self._model(description, raw)
        return None if raw is None or model is None else Served(replace(model, revision=revision), description, raw)

    def _model(self, description: Description, raw: JsonObject) -> Model | None:
        try:
            model_id = ModelId.parse(description.id)
        except InvalidArgumentError:
            return None
        made_ms = came_ms(description.path) if description.weights else jsonfile.changed_ms(description.path) or 0
        model = form.from_json(model_id, raw, made_ms, description.folder, description.present)
        if form.is_remote(model):
            return None if description.is_guest else replace(model, sees=model.settings.get("vision_model") is True)
        folder = self._layout.root / description.folder
        return replace(model, size_bytes=_size(folder, model, description.present), sees=sees(folder, model))


def _below(home: Path, place: str, engine: str, prefix: str = "", depth: int = 0) -> Iterator[Description]:
    """The descriptions in a folder and, unless one speaks for the whole folder, in those below it."""
    try:
        with os.scandir(home) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError:
        logger.warning("folder skipped: not allowed to look inside", folder=f"{place}/{prefix}")
        return
    folder = f"{place}/{prefix}" if prefix else place
    present = frozenset(entry.name for entry in listed if is_tellable(entry.name) and not plain.is_folder(entry))
    found = [
        Description(_id(prefix, name), home / name, folder, engine, present) for name in present if _may_describe(name)
    ]
    yield from sorted(found, key=lambda description: (not description.is_sure, description.path.name))
    is_whole = any(description.is_sure for description in found)
    if place == "models" and not is_whole and not any(description.read() for description in found):
        for weights in dropped(prefix, present):
            yield Description(weights.id, home / weights.files[0], folder, engine, present, weights)
            is_whole |= not weights.files[0].endswith(".gguf")
    if depth == _MAX_DEPTH or is_whole:
        return
    for entry in listed:
        if entry.is_dir(follow_symlinks=False):
            below = f"{prefix}/{entry.name}" if prefix else entry.name
            yield from _below(home / entry.name, place, engine, below, depth + 1)


def _id(prefix: str, name: str) -> str:
    """The folder for `model.*` and a file named as its folder, else folder/file without its ending."""
    stem = name.rpartition(".")[0]
    if prefix and stem in ("model", prefix.rpartition("/")[2]):
        return prefix
    return f"{prefix}/{stem}" if prefix else stem


def _may_describe(name: str) -> bool:
    if name.endswith(_YAML):
        return True
    return name.endswith(".json") and not name.endswith(".index.json") and not name.startswith(_NOT_DRAFTS)


def _size(folder: Path, model: Model, present: frozenset[str]) -> int | None:
    """How large the weights are, wherever links lead; None when there are none, or one is missing."""
    names = model.files
    if model.format == "safetensors":
        names = tuple(name for name in present if name.endswith(".safetensors"))
    try:
        return sum(os.stat(folder / name).st_size for name in names) if names else None
    except OSError:
        return None


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(filter(is_tellable, os.listdir(folder)))
    except OSError:
        return frozenset()
