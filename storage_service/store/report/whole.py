"""The report on a whole janroot. It reads every thread: seconds for thousands of them, half a minute for 100,000."""

from collections import Counter
from collections.abc import Callable, Iterator

from storage_service.store import layout
from storage_service.store.report import batches, completions, keepsakes, objects, threads, vector_stores
from storage_service.store.report.findings import Finding, Kind, Report, Severity

Part = Callable[[layout.Layout], Iterator[Finding]]

_PARTS: dict[str, Part] = {
    "threads": threads.inspect,
    "assistants": objects.assistants,
    "models": objects.models,
    "completions": completions.inspect,
    "batches": batches.inspect,
    "vector_stores": vector_stores.inspect,
    ".": keepsakes.inspect,
}


def inspect(where: layout.Layout, most: int) -> Report:
    """Look at everything, changing nothing; the first `most` findings are told, those that want a hand before others.

    What is changed meanwhile is seen as it was or as it is.
    """
    findings: list[Finding] = []
    for place, part in _PARTS.items():
        try:
            findings.extend(part(where))
        except OSError as error:
            findings.append(Finding(place, Kind.UNREADABLE, error.strerror or ""))
    counts = Counter(finding.kind.severity for finding in findings)
    findings.sort(key=lambda finding: list(Severity).index(finding.kind.severity), reverse=True)
    return Report(tuple(findings[:most]), {severity: counts[severity] for severity in Severity})
