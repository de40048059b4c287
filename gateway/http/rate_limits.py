"""OpenAI's headers that tell a client how much more it may send.

Those for tokens are left out: nothing bounds how many tokens somebody may have.
"""

from __future__ import annotations

from jan.queue.bounds import Room

_LIMIT = "x-ratelimit-limit-requests"
_REMAINING = "x-ratelimit-remaining-requests"
_RESET = "x-ratelimit-reset-requests"
RATE_LIMIT_HEADERS = (_LIMIT, _REMAINING, _RESET)


def rate_limit_headers(room: Room | None) -> dict[str, str]:
    """The headers for an answer; none where nothing bounds the requests."""
    if room is None:
        return {}
    return {_LIMIT: str(room.limit), _REMAINING: str(room.remaining), _RESET: _duration(room.reset_seconds)}


def _duration(seconds: int) -> str:
    """A time as OpenAI writes it: `1s`, `6m0s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
