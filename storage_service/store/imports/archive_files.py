"""The files beside the conversations in an export, found by the ids that conversations name them by."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from jan.errors import InvalidArgumentError
from jan.ids import MessageFileId
from storage_service.store.imports.conversations import digest

# ChatGPT's `file-AbC…` and `file_0000…`, and a UUID. A name begins with it; the name that a person gave may follow.
_ID = re.compile(r"file[-_][A-Za-z0-9]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}", re.ASCII)
# What an export calls a file whose kind it does not tell.
_TELL_NOTHING = frozenset({"", ".dat", ".bin"})
_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "audio/wav": ".wav",
}
_IMAGES = frozenset(
    {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".svg", ".avif", ".heic", ".heif", ".tif", ".tiff"}
)
# Ids come as `file-service://file-AbC` and `sediment://file_000?…`; what is longer is no id.
_MAX_REFERENCE = 1024
_MAX_NAME = 255
_MAX_STEM = 48


class ArchiveFiles:
    """The entries of an archive by id, in whatever folder they lie."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._entries: dict[str, str] = {}
        for name in names:
            if found := _ID.match(name.rpartition("/")[2]):
                self._entries.setdefault(found.group(), name)

    def find(self, reference: str) -> str | None:
        """The entry that a reference means; None when the export does not have it."""
        return self._entries.get(id_in(reference))


def id_in(reference: str) -> str:
    """The id in a reference; empty when there is none."""
    found = _ID.match(reference[:_MAX_REFERENCE].rpartition("://")[2])
    return found.group() if found else ""


def file_name(file_id: str, given: str, media_type: str = "", stored: str = "") -> MessageFileId:
    """The name for a file in a thread's folder: its id, what is safe of the name a person gave it, and its ending.

    given, stored: what the person and the archive call it; the first of these, or the media type, tells the ending.
    """
    suffixes = (suffix_of(given), _SUFFIXES.get(media_type, ""), suffix_of(stored))
    suffix = next((found for found in suffixes if found not in _TELL_NOTHING), "")
    stem = _UNSAFE.sub("_", PurePosixPath(given[-_MAX_NAME:].replace("\\", "/")).stem).strip("_-")[:_MAX_STEM]
    try:
        return MessageFileId.parse(f"{file_id}-{stem}{suffix}" if stem else f"{file_id}{suffix}")
    except InvalidArgumentError:
        return MessageFileId(f"file-{digest(file_id.encode())}{suffix}")


def suffix_of(name: str) -> str:
    """A name's ending in lower case; empty for none and for what is none."""
    suffix = PurePosixPath(name[-64:]).suffix.lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def is_image(name: str, media_type: str = "") -> bool:
    """Whether a file is an image, as far as its media type or its ending tells."""
    return media_type.startswith("image/") or suffix_of(name) in _IMAGES
