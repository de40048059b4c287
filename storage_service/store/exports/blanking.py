"""What is given away of a file that may hold keys: descriptions of models, and settings."""

import re

import orjson

from storage_service.store import secrets, yamlfile

# Made by whoever published the weights, and full of "tokens" and "keys" that are none of ours.
_PUBLISHED = re.compile(r"(?:tokenizer|special_tokens_map|added_tokens|vocab)[\w.-]*\.json|.*\.index\.json")
_DESCRIBES = (".json", ".yml", ".yaml")
# Files of any program's settings: nobody looks for them among models, and nobody can tell what is in them.
_OPAQUE = (".env", ".toml", ".ini", ".cfg", ".conf", ".pem", ".key", ".netrc")
_COMMENT = re.compile(r"#.*")
_NAME = re.compile(r"[\w-]+")


def is_description(name: str) -> bool:
    """Whether a file of this name, below a model, may say how to reach it: copies such as `model.json.bak` too."""
    return any(mark in name.lower() for mark in _DESCRIBES) and not _PUBLISHED.fullmatch(name)


def is_opaque(name: str) -> bool:
    """Whether a file of this name may hold keys, and cannot be read to look for them."""
    return any(mark in name.lower() for mark in _OPAQUE)


def blanked(name: str, data: bytes) -> bytes | None:
    """A file without its keys, as it is when it has none; None when nobody can tell."""
    if ".json" in name.lower():
        return _blanked_json(data)
    return _blanked_yaml(data)


def _blanked_json(data: bytes) -> bytes | None:
    try:
        value = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
        if isinstance(value, str):
            return None  # nothing says what it is
        return orjson.dumps(value, option=orjson.OPT_INDENT_2) if secrets.blank(value) else data
    except (orjson.JSONDecodeError, TypeError):  # or nested too deeply to be written
        return None


def _blanked_yaml(data: bytes) -> bytes | None:
    value = yamlfile.parse(data)
    if value is None:
        return None
    found = secrets.blank(value)
    return yamlfile.encode(value) if found or _comments_on_secrets(data) else data


def _comments_on_secrets(data: bytes) -> bool:
    """Whether a key may be in a comment: those are not written again."""
    comments = _COMMENT.findall(data.decode("utf-8", "replace"))
    return any(secrets.is_secret(name) for comment in comments for name in _NAME.findall(comment))
