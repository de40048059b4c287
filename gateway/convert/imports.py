"""What an import did, as an object of our own: neither Jan nor OpenAI has one."""

from __future__ import annotations

from typing import Any

from jan.storage.v1 import imports_pb2 as pb

_LISTS = ("kept", "remapped", "already_here", "quarantined", "refused", "redacted", "notes")
_NEW = ("threads", "messages", "assistants", "models", "files", "vector_stores", "completions", "batches")


def report_from_proto(report: pb.ImportReport) -> dict[str, Any]:
    """The `import.report`: how many things are new, how many are in each list, and the lists, cut at 1,000 each."""
    lists = {name: list(map(_item, getattr(report, name))) for name in _LISTS}
    return {
        "object": "import.report",
        "dry_run": report.dry_run,
        "kind": report.kind,
        "counts": {name: report.counts.get(name, 0) for name in (*_NEW, *_LISTS)},
        **lists,
        "has_more": [name for name in _LISTS if report.counts.get(name, 0) > len(lists[name])],
        "quarantine": report.quarantine or None,
    }


def progress_from_proto(progress: pb.ImportProgress) -> dict[str, Any]:
    """The `import.progress`."""
    return {
        "object": "import.progress",
        "stage": progress.stage,
        "done": progress.done,
        "total": progress.total,
    }


def _item(item: pb.ImportItem) -> dict[str, str]:
    """One line of a list: what is set."""
    told = {
        "kind": item.kind,
        "from": item.from_id,
        "id": item.id,
        "path": item.path,
        "key": item.key,
        "code": item.code,
        "reason": item.reason,
    }
    return {name: value for name, value in told.items() if value}
