"""Which paths of this machine a stranger may name: those below folders that the operator has allowed, and no others.

What lies elsewhere is refused before anybody looks at it, in the same words whether it is there or not, so nobody can
feel his way through the file system (docs/security.md S1, S2). Paths are compared part by part, never as text.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, PermissionDeniedError

_MAX_LENGTH = 4_096
_PARAM = "modelPath"


class ImportPaths:
    """The folders that may be imported from; none by default. `janroot` is never imported from."""

    def __init__(self, allowed: Sequence[Path], janroot: Path) -> None:
        self._spelled = tuple(Path(os.path.normpath(path)) for path in allowed)
        self._real = tuple(Path(os.path.realpath(path)) for path in allowed)
        self._janroot = janroot

    def find(self, text: str) -> Path:
        """The path as it was named, once it may be looked at and something is there.

        Raises InvalidArgumentError: no absolute path. PermissionDeniedError: imports are off, or not of this path.
        NotFoundError: nothing is there.
        """
        if not self._spelled:
            raise PermissionDeniedError(
                "Models are not imported by path here; name the folders in JANROOT_IMPORT_PATHS to allow it.",
                code="imports_off",
                param=_PARAM,
            )
        path = Path(text)
        if not path.is_absolute() or "\0" in text or len(text) > _MAX_LENGTH:
            raise InvalidArgumentError("'modelPath' must be an absolute path on the server's machine.", param=_PARAM)
        folders = self._spelled + self._real
        if ".." in path.parts or not any(path.is_relative_to(folder) for folder in folders):
            raise _not_allowed()
        real = self.real(path)
        if not os.path.lexists(real):
            raise NotFoundError(
                "There is nothing at this path on the server's machine.", code="model_path_missing", param=_PARAM
            )
        return path

    def real(self, path: Path) -> Path:
        """Where a path leads in the end. Raises PermissionDeniedError: out of the allowed folders."""
        real = Path(os.path.realpath(path))
        if not any(real.is_relative_to(folder) for folder in self._real) or real.is_relative_to(self._janroot):
            raise _not_allowed()
        return real

    def plain_file(self, path: Path) -> Path:
        """Where a plain file lies. Raises PermissionDeniedError. FailedPreconditionError: it is none, or is closed."""
        real = self.real(path)
        try:
            is_plain = stat.S_ISREG(os.stat(real, follow_symlinks=False).st_mode)
        except OSError as error:
            raise unusable(f"{path.name} cannot be read: {error.strerror}.") from None
        if not is_plain:
            raise unusable(f"{path.name} is no plain file.")
        if not os.access(real, os.R_OK):
            raise unusable(f"{path.name} cannot be read: the storage service may not.")
        return real


def unusable(message: str) -> FailedPreconditionError:
    """What is at a path makes no model."""
    return FailedPreconditionError(message, code="model_file_invalid", param=_PARAM)


def _not_allowed() -> PermissionDeniedError:
    return PermissionDeniedError(
        "This path is not below a folder that JANROOT_IMPORT_PATHS allows, or a link leads out of it.",
        code="path_not_allowed",
        param=_PARAM,
    )
