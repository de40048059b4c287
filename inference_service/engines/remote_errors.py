"""What the server of a model that is elsewhere says when it does not answer: what helps, and no word of its own.

Its own sentences may tell addresses, accounts and keys: they go into our log only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from jan.errors import FailedPreconditionError, InternalError, JanError, UnavailableError

_DEFAULT_WAIT_SECONDS: Final = 5
_LONGEST_WAIT_SECONDS: Final = 24 * 3600


def remote_error(status: int, wait_seconds: int) -> JanError:
    """For a status that is no refusal of the request: a redirect, or a failure over there."""
    try:
        named = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        named = str(status)
    if 300 <= status < 400:
        message = f"The model's server answered {named}; redirects are not followed, so name the last URL."
        return FailedPreconditionError(message, code="engine_redirects")
    if status in (502, 503, 504):
        return UnavailableError(
            f"The model's server answered {named}.", code="engine_unavailable", retry_after_seconds=wait_seconds
        )
    return InternalError(f"The model's server answered {named}.", code="engine_failed")


def wait_seconds_of(headers: Mapping[str, str], now: datetime | None = None) -> int:
    """How long `Retry-After` asks to wait, in seconds or as a date (RFC 9110 section 10.2.3).

    From 1 s to a day; 5 s when it asks nothing that can be read.
    """
    said = headers.get("Retry-After", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError):
            return _DEFAULT_WAIT_SECONDS
    if math.isnan(seconds):
        return _DEFAULT_WAIT_SECONDS
    return math.ceil(min(max(seconds, 1), _LONGEST_WAIT_SECONDS))
