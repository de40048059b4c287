"""Where engines listen: a socket with a name of its own for every engine process that is ever started."""

from __future__ import annotations

import secrets
from pathlib import Path

_FOLDER = "engines"
_ENDING = ".sock"
_BESIDE = (_ENDING, ".jinja")


def new_socket(run_dir: Path) -> Path:
    """A path that no other engine has, whatever model, copy, configuration or start of the service it belongs to.

    So an engine that is still ending, or its successor, can never be asked or unlinked in the other's place.
    """
    return run_dir / _FOLDER / f"{secrets.token_hex(8)}{_ENDING}"


def remove_left_over(run_dir: Path) -> None:
    """Remove what engines of an earlier service left; no engine of this one may have been made yet.

    A run folder belongs to one service (`jan.service.pid_file`), and its engines do not outlive it.
    """
    for path in (run_dir / _FOLDER).glob("*"):
        if path.suffix in _BESIDE:
            path.unlink(missing_ok=True)
