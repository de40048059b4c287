"""Names for what comes in: its own if it can be an id here, else one made of it, else the next free number."""

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterator

from jan.errors import InvalidArgumentError
from jan.ids import Id

_FOREIGN = re.compile(r"[^A-Za-z0-9_-]+")
_MADE_LENGTH = 64


def usable(id_type: type[Id], name: str) -> str:
    """The name, or one made of it that can be an id of this kind; the same one each time."""
    if _can_be(id_type, f"{name}-999999"):
        return name
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    made = _FOREIGN.sub("_", letters)[:_MADE_LENGTH].strip("_")
    if made and _can_be(id_type, made):
        return made
    return f"imported_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def candidates(name: str, first: int = 1) -> Iterator[str]:
    """The name, then `-2`, `-3` …, as they are given after a collision; from the `first` of them on."""
    for number in itertools.count(first):
        yield f"{name}-{number}" if number > 1 else name


def _can_be(id_type: type[Id], name: str) -> bool:
    try:
        id_type.parse(name)
    except InvalidArgumentError:
        return False
    return True
