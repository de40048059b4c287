"""OpenAI's headers that tell a client how much more it may send, and Anthropic's.

Those for tokens are left out: nothing bounds how many tokens somebody may have.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from jan.queue.bounds import Room

_OPENAIS = tuple(f"x-ratelimit-{what}-requests" for what in ("limit", "remaining", "reset"))
_ANTHROPICS = tuple(f"anthropic-ratelimit-requests-{what}" for what in ("limit", "remaining", "reset"))
RATE_LIMIT_HEADERS = (*_OPENAIS, *_ANTHROPICS)


def rate_limit_headers(room: Room | None) -> dict[str, str]:
    """The headers for an answer; none where nothing bounds the requests."""
    return {} if room is None else _told(_OPENAIS, room, _duration(room.reset_seconds))


def anthropic_rate_limit_headers(room: Room | None) -> dict[str, str]:
    """The same for Anthropic's clients, who are told a time to the second."""
    if room is None:
        return {}
    reset = datetime.fromtimestamp(time.time() + room.reset_seconds, UTC)
    return _told(_ANTHROPICS, room, reset.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _told(names: tuple[str, ...], room: Room, reset: str) -> dict[str, str]:
    return dict(zip(names, (str(room.limit), str(room.remaining), reset), strict=True))


def _duration(seconds: int) -> str:
    """A time as OpenAI writes it: `1s`, `6m0s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
