"""Folders as archives, and imports that are driven to their end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storage_service.store.importing.importer import Importer
from storage_service.store.importing.report import Report
from storage_service.store.store import Store

Import = Callable[..., Report]


@pytest.fixture
def take_in(store: Store, tmp_path: Path) -> Import:
    """Import bytes into the store's janroot."""

    def run(data: bytes, *, dry_run: bool = False) -> Report:
        source = tmp_path / "upload"
        source.write_bytes(data)
        folder = store.layout.staging / "import"
        importer = Importer(store, lambda: 1_800_000_000_000, folder, source, dry_run=dry_run)
        try:
            for _ in importer.steps():
                pass
        finally:
            importer.discard()
        assert list(store.layout.staging.iterdir()) == []
        return importer.report

    return run
