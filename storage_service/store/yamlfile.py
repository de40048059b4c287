"""One YAML map in a file of its own, as cortex and Jan 0.6 describe their models. Never written into a janroot."""

from pathlib import Path

import orjson
import yaml

from storage_service.store import jsonfile
from storage_service.store.records import JsonObject

# Jan's largest hold a chat template of a few kilobytes.
MAX_FILE_BYTES = 1024 * 1024


# Jan's are flat.
_MAX_DEPTH = 16


class _PlainLoader(yaml.CSafeLoader):
    """Plain values, and times as the text they are, since JSON has none."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> JsonObject | None:
    """The map in a file, its values as JSON has them; None when there is no such file or no such map in it."""
    data = jsonfile.read_bytes(path, MAX_FILE_BYTES)
    return None if data is None else parse(data)


def parse(data: bytes) -> JsonObject | None:
    """The map in a text, its values as JSON has them; None when there is no such map in it."""
    try:
        if not _is_plain(data):
            return None
        value = yaml.load(data, Loader=_PlainLoader)  # noqa: S506 (a safe loader, made stricter)
        value = orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def encode(value: JsonObject) -> bytes:
    """A map as the text that `parse` reads, in the order of its fields."""
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=10_000).encode()


def _is_plain(data: bytes) -> bool:
    """Whether a text has no aliases, a few lines of which grow to gigabytes, and is not nested beyond reason."""
    depth = 0
    for event in yaml.parse(data, Loader=_PlainLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.AliasEvent) or depth > _MAX_DEPTH:
            return False
    return True
