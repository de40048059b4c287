"""ReportService over the store."""

from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError
from jan.storage.v1 import report_pb2 as pb
from jan.storage.v1.report_pb2_grpc import ReportServiceServicer
from storage_service.access import Access
from storage_service.servicers.chunk_vectors import embedder_from_proto
from storage_service.store.report.findings import Finding, Severity
from storage_service.store.report.vector_stores import Embedders
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]

DEFAULT_FINDINGS = 1_000
MAX_FINDINGS = 10_000

_SEVERITY = {severity: pb.FindingSeverity.Value(f"FINDING_SEVERITY_{severity.name}") for severity in Severity}
# One look at everything at a time; the others wait for their own.
_ONE_AT_A_TIME = "report"


class ReportServicer(ReportServiceServicer):
    """See report.proto."""

    def __init__(self, access: Access, store: Store) -> None:
        self._access = access
        self._store = store

    async def GetReport(self, request: pb.GetReportRequest, context: Context) -> pb.GetReportResponse:
        """See report.proto."""
        most = request.max_findings or DEFAULT_FINDINGS
        if not 1 <= most <= MAX_FINDINGS:
            raise InvalidArgumentError(f"max_findings must be between 1 and {MAX_FINDINGS}.", param="limit")
        embedders = _embedders(request.embedders) if request.HasField("embedders") else None
        report = await self._access.run_alone(_ONE_AT_A_TIME, lambda: self._store.report(most, embedders))
        return pb.GetReportResponse(
            findings=map(to_proto, report.findings),
            errors=report.counts[Severity.ERROR],
            warnings=report.counts[Severity.WARNING],
            infos=report.counts[Severity.INFO],
        )


def to_proto(finding: Finding) -> pb.Finding:
    """A finding for the wire."""
    return pb.Finding(
        path=_printable(finding.path),
        kind=finding.kind.name.lower(),
        severity=_SEVERITY[finding.kind.severity],
        meaning=finding.kind.meaning,
        action=finding.kind.action,
        detail=_printable(finding.detail),
    )


def _embedders(known: pb.Embedders) -> Embedders:
    return Embedders(frozenset(map(embedder_from_proto, known.here)), known.wanted)


def _printable(text: str) -> str:
    """Names on disk need not be UTF-8, and what lies in files may hold half a character: escapes stand for those."""
    return text.encode("utf-8", "backslashreplace").decode()
