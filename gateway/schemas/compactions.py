"""What a compaction item carries: a summary, packed so that clients pass it on as it is (OpenAI's `encrypted_content`).

It is not encrypted: who sends an item may send any message just as well, so there is nothing to be kept from him.
"""

from __future__ import annotations

import base64
import binascii

_FORM = "janroot.1."
MAX_SUMMARY_BYTES = 256 * 1024


def pack(summary: str) -> str:
    """The item's `encrypted_content` for a summary."""
    return _FORM + base64.urlsafe_b64encode(summary.encode()).decode()


def unpack(content: str) -> str | None:
    """The summary; None for what no server of this kind made, or is longer than any summary."""
    if not content.startswith(_FORM) or len(content) > len(_FORM) + 2 * MAX_SUMMARY_BYTES:
        return None
    try:
        summary = base64.b64decode(content.removeprefix(_FORM), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return summary if "\0" not in summary and len(summary.encode()) <= MAX_SUMMARY_BYTES else None
