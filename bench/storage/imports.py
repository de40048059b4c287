"""The import of a whole Jan folder, beside what the disk needs for as many folders and files."""

import os
import shutil
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

from bench.storage.janroots import write_thread
from bench.storage.measures import tell
from bench.storage.service import Service
from jan import rpc
from jan.storage.v1 import imports_pb2
from jan.storage.v1.imports_pb2_grpc import ImportServiceStub
from storage_service.store.bulk import Bulk

THREADS = 5_000
MESSAGES_PER_THREAD = 20
COLUMNS = ["5,000 threads of 20 messages", "seconds", "threads/s", "messages/s", "MB in memory"]
_PIECE_BYTES = 256 * 1024


async def measure(folder: Path) -> None:
    """One import into an empty janroot, the same again, and the disk's floor before and after."""
    source, archive = folder / "jan", folder / "jan.zip"
    for number in range(THREADS):
        write_thread(source, number, MESSAGES_PER_THREAD)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as writer:
        for path in sorted(source.rglob("*.json*")):
            writer.write(path, path.relative_to(folder))
    shutil.rmtree(source)
    rows = [_row("the disk's floor, before", disk_floor(folder / "before"))]
    async with Service(folder, folder / "janroot") as service:
        for label in ("imported", "imported again: all is here"):
            began = time.perf_counter()
            report = await _imported(service, archive)
            seconds = time.perf_counter() - began
            rows.append([*_row(label, seconds), str(service.memory_mb())])
            assert report.counts["threads"] + report.counts["already_here"] == THREADS
    rows.append(_row("the disk's floor, after", disk_floor(folder / "after")))
    tell("Import over gRPC", COLUMNS, [row + [""] * (len(COLUMNS) - len(row)) for row in rows])


def disk_floor(folder: Path) -> float:
    """Seconds for as many folders of two files of the same lengths, made durable by one flush of the file system."""
    folder.mkdir()
    began = time.perf_counter()
    with Bulk(folder) as bulk:
        for number in range(THREADS):
            os.mkdir(folder / str(number))  # noqa: PTH102  as the store does it
            bulk.write(folder / str(number) / "thread.json", [b"x" * 100])
            bulk.write(folder / str(number) / "messages.jsonl", [b"x" * 260 * MESSAGES_PER_THREAD])
        bulk.sync()
    return time.perf_counter() - began


def _row(label: str, seconds: float) -> list[str]:
    return [
        label,
        f"{seconds:.1f}",
        f"{THREADS / seconds:,.0f}",
        f"{THREADS * MESSAGES_PER_THREAD / seconds:,.0f}",
    ]


async def _imported(service: Service, archive: Path) -> imports_pb2.ImportReport:
    async def parts() -> AsyncIterator[imports_pb2.ImportRequest]:
        with archive.open("rb") as file:
            while data := file.read(_PIECE_BYTES):
                yield imports_pb2.ImportRequest(data=data)
        yield imports_pb2.ImportRequest(options=imports_pb2.ImportOptions())

    stub = ImportServiceStub(service.channel)
    async for answer in rpc.exchange(stub.Import, parts(), deadline_seconds=3600.0, stall_seconds=600.0):
        if answer.HasField("report"):
            return answer.report
    raise AssertionError("an import ends with its report")
