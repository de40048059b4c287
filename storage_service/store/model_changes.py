"""Changing and deleting models, whatever generation described them. One change at a time is assumed."""

import errno
import os
from collections.abc import Collection
from pathlib import Path

from jan.errors import ConflictError, FailedPreconditionError
from jan.ids import ModelId, TrashId
from storage_service.store import atomic, jsonfile, layout, signature, trash
from storage_service.store.forms import fields
from storage_service.store.forms import models as form
from storage_service.store.models import Models, Served
from storage_service.store.records import Model
from storage_service.store.revisions import check_revision

IN_USE = "model_in_use"


class ModelChanges:
    """What is done to models that are here."""

    def __init__(self, where: layout.Layout, models: Models, rubbish: trash.Trash) -> None:
        self._layout = where
        self._models = models
        self._trash = rubbish

    def change(self, model_id: ModelId, change: form.ModelChange, if_revision: Collection[str] = ()) -> Model:
        """Change what a model's description says; keys that nobody knows stay. Durable on return.

        Raises NotFoundError. FailedPreconditionError: its description is in YAML, which other programs write.
        PreconditionFailedError: its revision is none of `if_revision`.
        """
        return atomic.again_if_changed(lambda: self._change(model_id, change, if_revision))

    def delete(self, model_id: ModelId, if_revision: Collection[str] = ()) -> TrashId:
        """Move a model into the trash: its folder, or what is its own in a folder of several. Durable on return.

        Raises NotFoundError. ConflictError: LoRA adapters need it; it names them. PreconditionFailedError: see
        `change`. FailedPreconditionError: the trash lies on another file system.
        """
        served = self._models.find(model_id)
        check_revision(served.model.revision, if_revision)
        self._check_unneeded(served.model.id)
        deletion = self._trash.begin(trash.MODEL)
        for path in self._parts(served):
            self._put(deletion, path)
        deletion.finish()
        assert deletion.id is not None
        return deletion.id

    def _change(self, model_id: ModelId, change: form.ModelChange, if_revision: Collection[str]) -> Model:
        served = self._models.find(model_id)
        if served.description.weights is not None:
            return self._describe(served, change, if_revision)
        path = served.description.path
        if path.suffix != ".json":
            raise FailedPreconditionError(
                f"The model '{served.model.id}' is described by {path.name} of another program; "
                "put a model.json in its place to change it here.",
                code="model_read_only",
            )
        found = jsonfile.look(path)
        check_revision(found.revision, if_revision)
        if found.value is None:
            raise atomic.ChangedMeanwhileError
        raw = form.change(found.value, change)
        if not fields.time_ms(raw, "created", "created_at"):
            # The file's own time stood in for it, and changes now: the oldest model answers those who name none.
            raw["created"] = served.model.created_ms
        jsonfile.write(path, raw, found.signature)
        return self._models.get(served.model.id)

    def _describe(self, served: Served, change: form.ModelChange, if_revision: Collection[str]) -> Model:
        """Write the model.json that weights were put here without."""
        own = served.description
        if own.id != own.folder.removeprefix("models/"):
            raise FailedPreconditionError(
                f"The weights of '{own.id}' lie in {own.folder}/ with others; move them into models/{own.id}/ to "
                "change it here.",
                code="model_read_only",
            )
        check_revision(served.model.revision, if_revision)
        raw = form.change(served.raw, change) | {"id": own.id, "created": served.model.created_ms}
        jsonfile.write(self._layout.model(served.model.id) / layout.MODEL_FILE, raw, signature.NOTHING)
        return self._models.get(served.model.id)

    def _put(self, deletion: trash.Deletion, path: Path) -> None:
        try:
            deletion.put(path, name=trash.model_item(path.relative_to(self._layout.root)))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise FailedPreconditionError(
                f"'{path.name}' lies on another file system than the rest of the janroot, so it cannot go into the "
                "trash; remove it by hand."
            ) from error

    def _check_unneeded(self, model_id: ModelId) -> None:
        based = [model for model in self._models.all() if model.base is not None and model.base.id == model_id]
        adapters = [model.id for model in based if model.id != model_id]
        if adapters:
            raise ConflictError(
                f"The model '{model_id}' is the base of {', '.join(adapters[:10])}, which cannot be used without it; "
                "delete those first, or set their base_model to another.",
                code=IN_USE,
                param="model",
            )

    def _parts(self, served: Served) -> list[Path]:
        """What goes with a model: all of its folder, unless other models lie in it; its own files then."""
        own = served.description
        folder = self._layout.root / own.folder
        readable = self._models.readable()
        near = [d for d, _ in readable if d.folder == own.folder or d.folder.startswith(f"{own.folder}/")]
        others = [description for description in near if description.id != own.id]
        if not others and not own.is_at_home:
            return [folder]
        theirs = {
            name
            for description, raw in readable
            if description in others and description.folder == own.folder
            for name in self._models.files(description, raw)
        }
        descriptions = [description.path for description in near if description.id == own.id]
        weights = [folder / name for name in served.model.files if name not in theirs]
        return [path for path in dict.fromkeys([*descriptions, own.path, *weights]) if os.path.lexists(path)]
