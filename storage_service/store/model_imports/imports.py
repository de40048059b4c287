"""Taking a model in: built where nobody looks, read as strictly as before loading, then there whole or not at all.

Links are absolute and lead to the files themselves, past all other links, so nobody can turn them elsewhere later.
"""

import itertools
import os
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from jan.errors import ConflictError, FailedPreconditionError, InvalidArgumentError, NotFoundError, StorageFullError
from jan.formats.description import ModelDescription, usual_ctx_len
from jan.formats.hf_folder import read_hf_folder, read_lora_folder
from jan.formats.vision import is_projector
from jan.formats.weights import describe_gguf_files, is_gguf_adapter
from jan.ids import ModelId
from storage_service.store import atomic, jsonfile, layout, plain
from storage_service.store.adapter_bases import ADAPTER_CONFIG, find_base, told_by_config, told_by_file, what_to_do
from storage_service.store.clock import Clock
from storage_service.store.model_imports.paths import ImportPaths
from storage_service.store.model_imports.selection import Selection, select
from storage_service.store.models import Models
from storage_service.store.records import JsonObject, Model

EXISTS = "model_exists"

_PIECE_BYTES = 8 * 1024 * 1024
# So much may wait for the disk: a single fsync at the end of a large file would take minutes.
_SYNC_BYTES = 256 * 1024 * 1024
# What the rest of the janroot is left.
_ROOM_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be taken in. model_id: None for one made from the path's name."""

    path: str
    model_id: ModelId | None = None
    name: str = ""
    copy: bool = False
    base_model: str = ""


class ModelImport:
    """One import under way. `stage`, then each step of `copy`, then `publish`; `discard` in any case. One user."""

    def __init__(self, place: Path, where: layout.Layout, models: Models, clock: Clock) -> None:
        self._place = place
        self._layout = where
        self._models = models
        self._clock = clock
        self.model_id = ModelId("model")
        self.selection = Selection("", {}, is_gguf=True)
        self._base: Model | None = None
        self.copied: dict[str, int] = {}
        self.sizes: dict[str, int] = {}

    def stage(self, wanted: Wanted, paths: ImportPaths) -> None:
        """Link what is taken, and read the header of every file; nothing is copied yet.

        Raises PermissionDeniedError, NotFoundError: see `ImportPaths.find`. FailedPreconditionError: what is there
        makes no model. InvalidArgumentError: an adapter without its base, or with one of another kind. ConflictError:
        the id is taken. StorageFullError: no room for copies.
        """
        path = paths.find(wanted.path)
        self.selection = select(path, paths)
        self.model_id = wanted.model_id or ModelId.parse(self.selection.stem)
        self._check_place()
        self._base = self._find_base(wanted.base_model)
        self._link()
        self._check_contents()
        if wanted.copy:
            self._check_room()

    def copy(self) -> Generator[None, None, None]:
        """Put copies in the place of the links, a piece at a time. Raises StorageFullError; FailedPreconditionError."""
        for name, source in self.selection.files.items():
            (self._place / name).unlink()
            self.copied[name] = 0
            for length in _copied(source, self._place / name):
                self.copied[name] += length
                yield
        self._check_contents()

    def publish(self, wanted: Wanted) -> Model:
        """Put the model in its place. Durable on return. Raises ConflictError: it was taken meanwhile."""
        self._check_place()
        folder = self._layout.model(self.model_id)
        jsonfile.write(self._place / layout.MODEL_FILE, self._description(wanted))
        for inner in {self._place / name for name in self.selection.files}:
            atomic.sync_dir(inner.parent)
        atomic.sync_dir(self._place)
        atomic.make_dir(folder.parent)
        atomic.rename(self._place, folder)
        return self._models.get(self.model_id)

    def discard(self) -> None:
        """Leave nothing behind but what was published."""
        atomic.remove_tree(self._place)

    @atomic.telling_no_room()
    def _link(self) -> None:
        self._place.mkdir()
        for name, source in self.selection.files.items():
            (self._place / name).parent.mkdir(exist_ok=True)
            (self._place / name).symlink_to(source)
            self.sizes[name] = os.stat(source).st_size

    def _check_place(self) -> None:
        folder = self._layout.model(self.model_id)
        above = [self._layout.models / step for step in accumulate(self.model_id.split("/")[:-1], os.path.join)]
        served = any(description.id == self.model_id for description, _ in self._models.readable())
        if served or os.path.lexists(folder):
            raise ConflictError(
                f"There is a model, or another folder, with the id '{self.model_id}'; choose another id, or delete it.",
                code=EXISTS,
                param="model",
            )
        if any((step / layout.MODEL_FILE).exists() or (step.exists() and not step.is_dir()) for step in above):
            raise ConflictError(f"'{self.model_id}' would lie inside of another model.", code=EXISTS, param="model")

    def _find_base(self, base_model: str) -> Model | None:
        if not self._is_adapter():
            if base_model:
                raise InvalidArgumentError("Only LoRA adapters have a 'base_model'.", param="base_model")
            return None
        base = self._models.get(ModelId.parse(base_model)) if base_model else self._base_that_it_tells()
        if base.format != self._format or base.base is not None:
            kind = "a LoRA adapter itself" if base.base is not None else f"of the format '{base.format}'"
            raise InvalidArgumentError(
                f"This adapter belongs to a whole model in {self._format}, and '{base.id}' is {kind}.",
                param="base_model",
            )
        return base

    def _base_that_it_tells(self) -> Model:
        """Raises InvalidArgumentError: it tells none, or no model here or several could be meant."""
        files = self.selection.files
        told = told_by_file(next(iter(files.values()))) if self.selection.is_gguf else []
        if ADAPTER_CONFIG in files:
            told = told_by_config(files[ADAPTER_CONFIG])
        base = find_base(told, self._models.all(), self._format)
        if base is None:
            raise InvalidArgumentError(what_to_do(told), param="base_model")
        return base

    @property
    def _format(self) -> str:
        return "gguf" if self.selection.is_gguf else "safetensors"

    def _is_adapter(self) -> bool:
        if not self.selection.is_gguf:
            return self.selection.is_adapter
        return is_gguf_adapter(next(iter(self.selection.files.values())))

    def _check_contents(self) -> None:
        """Raises FailedPreconditionError: a header lies, a file is missing, or something wants to run a program."""
        try:
            if self.selection.is_gguf:
                self._describe_gguf()
            elif self.selection.is_adapter:
                read_lora_folder(self._place, self.model_id)
            else:
                read_hf_folder(self._place, self.model_id)
        except NotFoundError as error:
            raise FailedPreconditionError(error.message, code="model_file_invalid", param="modelPath") from None

    def _describe_gguf(self) -> ModelDescription:
        """A model, or an adapter with the base that it must fit, once that is downloaded."""
        files = [self._place / name for name in self.selection.files]
        weights, projector = _apart(files)
        if self._base is None:
            return describe_gguf_files(weights, projector=projector)
        base, _ = _apart([self._layout.root / self._base.folder / name for name in self._base.files])
        if not base or not all(path.is_file() for path in base):
            return ModelDescription(weights_bytes=0)
        return describe_gguf_files(base, files[0])

    def _check_room(self) -> None:
        needed = sum(self.sizes.values())
        free = shutil.disk_usage(self._place).free
        if needed + _ROOM_BYTES > free:
            raise StorageFullError(
                f"Copies take {needed} bytes, and the janroot's disk has {free} free; import by link or make room."
            )

    def _description(self, wanted: Wanted) -> JsonObject:
        """As Jan wrote it for models that users brought."""
        weights = self.selection.weights()
        settings: JsonObject = {}
        if self.selection.is_gguf:
            settings = {"ctx_len": usual_ctx_len(self._describe_gguf()), "llama_model_path": weights[0]}
        if self._base is not None:
            settings["base_model"] = self._base.id
        return {
            "sources": [{"filename": name, "url": "N/A"} for name in weights],
            "id": self.model_id,
            "object": "model",
            "name": wanted.name or self.model_id.rpartition("/")[2],
            "version": "1.0",
            "description": "User self import model",
            "created": self._clock(),
            "format": self._format,
            "settings": settings,
            "parameters": {},
            "metadata": {"author": "User", "tags": [], "size": sum(self.sizes[name] for name in weights)},
            "engine": "llamacpp" if self.selection.is_gguf else "vllm",
        }


class ModelImports:
    """Take models in. One `publish` at a time is assumed; the rest may overlap."""

    def __init__(self, where: layout.Layout, models: Models, clock: Clock) -> None:
        self._layout = where
        self._models = models
        self._clock = clock
        self._numbers = itertools.count()
        self.paths = ImportPaths((), where.root)

    def allow(self, folders: Sequence[Path]) -> None:
        """Say which folders may be imported from; none before."""
        self.paths = ImportPaths(folders, self._layout.root)

    def new(self) -> ModelImport:
        """An import that has not begun."""
        place = self._layout.staging / f"model.{next(self._numbers)}"
        return ModelImport(place, self._layout, self._models, self._clock)


def _copied(source: Path, target: Path) -> Generator[int, None, None]:
    """Copy a file piece by piece, each answered with its length. It is durable but for its name at the end."""
    draft = atomic.Draft(target)
    try:
        with open(plain.open_file(source, os.O_RDONLY), "rb") as data:
            while piece := _read(data, source):
                draft.write(piece)
                if draft.size // _SYNC_BYTES > (draft.size - len(piece)) // _SYNC_BYTES:
                    draft.sync()
                yield len(piece)
        draft.finish()
    except BaseException:
        draft.discard()
        raise


def _read(data: BinaryIO, source: Path) -> bytes:
    try:
        return data.read(_PIECE_BYTES)
    except OSError as error:
        raise FailedPreconditionError(f"{source.name} cannot be read: {error.strerror}.") from None


def _apart(files: Sequence[Path]) -> tuple[list[Path], Path | None]:
    """The weights, and what makes tokens of images for them."""
    projector = next((path for path in files if is_projector(path.name)), None)
    return [path for path in files if path != projector], projector
