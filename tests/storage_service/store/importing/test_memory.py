"""What the largest archive takes of the service's memory."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

from storage_service.store.archive import Archive
from storage_service.store.importing import contents
from storage_service.store.importing.importer import LIMITS

MOST_BYTES = 300 * 1000 * 1000
ENTRIES = 4_000


def test_the_largest_archive_is_understood_within_the_promised_memory(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(ENTRIES):
            archive.writestr(f"threads/t_{number // 4:0100d}/files/{number}", "")
        archive.writestr("threads/t/thread.json", "{}")
    path = tmp_path / "archive.zip"
    path.write_bytes(buffer.getvalue())
    tracemalloc.start()
    try:
        with Archive(path, LIMITS) as opened:
            assert contents.understand(opened.files()) is not None
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most / ENTRIES * LIMITS.entries < MOST_BYTES
