"""The Hugging Face cache of this machine: what lies there already is not fetched a second time.

Layout: `models--<org>--<repo>/blobs/<sha256>` for large files (huggingface_hub, "Understand caching").
"""

from collections.abc import Mapping
from pathlib import Path

from storage_service.store.pulls.part import sha256_of


class BlobCache:
    """Reads a cache, if there is one; nothing is ever changed in it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, sha256: str, size_bytes: int | None) -> Path | None:
        """A file that claims to have this hash; not read yet."""
        if self._folder is None or not sha256:
            return None
        for path in sorted(self._folder.glob(f"models--*/blobs/{sha256}")):
            try:
                if path.is_file() and size_bytes in (None, path.stat().st_size):
                    return path
            except OSError:
                continue
        return None

    def holds(self, path: Path, sha256: str) -> bool:
        """Whether a file is what its name claims. Reads all of it."""
        try:
            return sha256_of(path) == sha256
        except OSError:
            return False


def default_folder(environ: Mapping[str, str]) -> Path | None:
    """Where huggingface_hub keeps its cache for this user, when that is there."""
    home = environ.get("HF_HOME", "").strip() or "~/.cache/huggingface"
    folder = Path(home).expanduser() / "hub"
    return folder if folder.is_dir() else None
