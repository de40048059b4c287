"""/v1/chat/completions, the stored ones: what may be sent."""

from __future__ import annotations

from gateway.schemas.common import Metadata, RequestModel


class UpdateCompletion(RequestModel):
    """The new metadata, in place of the old; null empties it."""

    metadata: Metadata | None


class MetadataFilter(RequestModel):
    """Pairs that the metadata of what is listed must have."""

    metadata: Metadata
