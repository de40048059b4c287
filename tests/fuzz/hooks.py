"""What Schemathesis must be told of this API: how an archive goes over the wire."""

from __future__ import annotations

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/zip")
def as_bytes(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Whatever was made up for an archive; it is none, and so must be refused."""
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()
