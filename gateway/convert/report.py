"""Storage's report as an object of our own: Jan and OpenAI have none like it."""

from __future__ import annotations

from typing import Any

from jan.storage.v1 import report_pb2

_SEVERITY_PREFIX = "FINDING_SEVERITY_"


def report_from_proto(report: report_pb2.GetReportResponse) -> dict[str, Any]:
    """The `storage.report`: counts of everything found, and the findings, those that want a hand first."""
    counts = {"error": report.errors, "warning": report.warnings, "info": report.infos}
    return {
        "object": "storage.report",
        "needs_hand": bool(report.errors or report.warnings),
        "counts": counts,
        "findings": [_finding(finding) for finding in report.findings],
        "has_more": len(report.findings) < sum(counts.values()),
    }


def _finding(finding: report_pb2.Finding) -> dict[str, Any]:
    return {
        "object": "storage.finding",
        "path": finding.path,
        "kind": finding.kind,
        "severity": report_pb2.FindingSeverity.Name(finding.severity).removeprefix(_SEVERITY_PREFIX).lower(),
        "meaning": finding.meaning,
        "action": finding.action,
        "detail": finding.detail,
    }
