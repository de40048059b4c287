"""The report on a whole janroot. It reads every thread: seconds for thousands of them, half a minute for 100,000."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from storage_service.store import layout
from storage_service.store.report import batches, completions, keepsakes, objects, threads, vector_stores
from storage_service.store.report.findings import Finding, Kind, Report, Severity
from storage_service.store.report.vector_stores import Embedders

Part = Callable[[layout.Layout], Iterator[Finding]]

_PARTS: dict[str, Part] = {
    "threads": threads.inspect,
    "assistants": objects.assistants,
    "models": objects.models,
    "completions": completions.inspect,
    "batches": batches.inspect,
    ".": keepsakes.inspect,
}


def inspect(where: layout.Layout, most: int, embedders: Embedders | None = None) -> Report:
    """Look at everything, changing nothing; the first `most` findings are told, those that want a hand before others.

    What is changed meanwhile is seen as it was or as it is. embedders: None to say nothing about how vector stores are
    embedded.
    """
    findings: list[Finding] = []
    parts = _PARTS | {"vector_stores": partial(vector_stores.inspect, embedders=embedders)}
    for place, part in parts.items():
        try:
            findings.extend(part(where))
        except OSError as error:
            findings.append(Finding(place, Kind.UNREADABLE, error.strerror or ""))
    counts = Counter(finding.kind.severity for finding in findings)
    findings.sort(key=lambda finding: list(Severity).index(finding.kind.severity), reverse=True)
    return Report(tuple(findings[:most]), {severity: counts[severity] for severity in Severity})
