"""Keys for models that somebody else serves, each for one origin. Only this service knows them (security.md S19)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

_MAX_FILE_BYTES = 1024 * 1024
_PORTS = {"http": 80, "https": 443}


class RemoteKeys:
    """Which key goes to which origin (scheme, host and port); never shown by `repr`."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str, str] | None = None) -> None:
        """`keys` by URL; of each its origin counts. Raises ValueError: one is no http(s) origin, or its key no text."""
        self._keys = {_origin(url): _checked(url, key) for url, key in (keys or {}).items()}

    @classmethod
    def read(cls, value: str, janroot: Path) -> Self:
        """A JSON object of URL to key, or the path of a file with one, which may not lie in the janroot.

        Raises ValueError: what is wrong with it, without repeating any of it.
        """
        text = value if value.startswith("{") else _file(Path(value).expanduser().absolute(), janroot)
        try:
            keys = json.loads(text)
        except ValueError:
            keys = None
        if not isinstance(keys, dict):
            raise ValueError("must be a JSON object, from the origin of a server to its key, or a file with one")
        return cls(keys)

    def for_url(self, url: str) -> str | None:
        """The key for this URL's origin, and None for every other."""
        return self._keys.get(_origin(url))


def _origin(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise ValueError("names something that is no http(s) origin, such as https://api.example.com") from None
    if not parts.hostname or parts.username is not None:
        raise ValueError("names something that is no http(s) origin, such as https://api.example.com")
    return parts.scheme, parts.hostname, port


def _checked(url: str, key: object) -> str:
    if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"has no usable key for {urlsplit(url).hostname}")
    return key


def _file(path: Path, janroot: Path) -> str:
    if path.resolve().is_relative_to(janroot.resolve()):
        raise ValueError("names a file in the janroot, whose backups would carry the keys away")
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError("names a file that is too large for keys")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError("names a file that cannot be read") from None
