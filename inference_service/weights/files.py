"""Model files: found strictly inside the models folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from jan.errors import FailedPreconditionError, NotFoundError
from jan.formats.file_names import is_tellable

_MODELS = "models/"
_JANS = ("llamacpp/models/", "mlx/models/")
_OF_ASSISTANT: Final = re.compile(r"assistants/[^/]+/models/")


@dataclass(frozen=True, slots=True)
class WeightHomes:
    """Where weights lie: the models folder, and below the janroot the folders that Jan 0.6 and later have instead."""

    models: Path
    janroot: Path

    def folder(self, model_id: str, folder: str) -> Path:
        """A model's own folder; `folder` is relative to the janroot, empty for `models/<id>`.

        Raises FailedPreconditionError: it leads elsewhere.
        """
        folder = folder or _MODELS + model_id
        if ".." in PurePosixPath(folder).parts or "\0" in folder:
            raise _invalid(f"Model {model_id} lies outside of the models folders.")
        if folder == _MODELS.rstrip("/") or folder.startswith(_MODELS):
            return self.models / folder.removeprefix(_MODELS.rstrip("/")).lstrip("/")
        if folder.startswith(_JANS) or _OF_ASSISTANT.match(folder):
            return self.janroot / folder
        raise _invalid(f"Model {model_id} lies outside of the models folders.")


def resolve_weights(folder: Path, model_id: str, files: Sequence[str]) -> list[Path]:
    """The files in a model's own folder as paths that exist.

    A file may be a link to somewhere else, as an operator with one big disk has them; its name in the model's record
    may not leave the model's folder. Raises FailedPreconditionError: such a name, or none at all. NotFoundError: no
    such file.
    """
    if not files:
        raise _invalid(f"Model {model_id} names no weight files.")
    return [_resolve(folder, model_id, name) for name in files]


def _resolve(folder: Path, model_id: str, name: str) -> Path:
    relative = PurePosixPath(name)
    if not name or relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name:
        raise _invalid(f"Model {model_id} names a file outside of its own folder.")
    path = folder / relative
    if not is_tellable(name):
        raise _invalid(f"Model {model_id} names a file with control characters, or in no encoding: {name[:100]!a}.")
    if not path.is_file():
        raise NotFoundError(
            f"The file {relative} of model {model_id} is missing. Put it into the model's folder; where model.json "
            f"names a URL for it, `janroot models pull {model_id}` fetches it.",
            code="model_file_missing",
        )
    return path


def _invalid(message: str) -> FailedPreconditionError:
    return FailedPreconditionError(message, code="model_file_invalid")
