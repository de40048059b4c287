"""Taking a stream up again: from which event, by whom, and what to say when it is not kept any longer.

Events are numbered from 1 in the log behind a stream. A client asks for what follows number n by `starting_after=n` or
`Last-Event-ID: n`, on any gateway, and gets each event once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web
from redis.exceptions import RedisError

from gateway.http.flags import read_flags
from gateway.keys import FOLLOWER
from gateway.queueing.jobs import queue_unavailable
from jan.errors import InvalidArgumentError, JanError
from jan.queue.follower import LogBounds

NUMBERS_HEADER = "X-Janroot-Event-Ids"
LAST_EVENT_HEADER = "Last-Event-ID"
STARTING_AFTER = "starting_after"

_PLACE = re.compile(r"(?:([2-9]|[1-9][0-9]{1,5})\.)?([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The last event that a client has: in which of an answer's streams, from 1, and its number there, 0 for none."""

    round: int
    number: int


def wants_numbers(request: web.Request) -> bool:
    """Whether events are to carry their numbers: asked for by the header, or by taking a stream up again."""
    return request.headers.get(NUMBERS_HEADER) == "1" or _place(request) is not None


def wants_stream(request: web.Request) -> bool:
    """Whether a GET asks for events. Raises InvalidArgumentError: it names a place in a stream that it does not ask."""
    wanted = read_flags(((k, v) for k, v in request.query.items() if k == "stream"), "stream")["stream"]
    if not wanted and STARTING_AFTER in request.query:
        raise InvalidArgumentError(f"'{STARTING_AFTER}' needs stream=true.", param=STARTING_AFTER)
    return wanted


def starting_after(request: web.Request) -> int:
    """The number of the last event that the client has, 0 for none. Raises InvalidArgumentError: no such number."""
    place = place_after(request)
    if place is not None and place.round > 1:
        raise _no_number()
    return 0 if place is None else place.number


def place_after(request: web.Request) -> Place | None:
    """The last event that the client has of an answer in several streams, `n` or `round.n`; None when it names none.

    Raises InvalidArgumentError: no such number.
    """
    named = _place(request)
    place = None if named is None else _parsed(named)
    if named is not None and place is None:
        raise _no_number()
    return place


async def log_bounds(request: web.Request, log_id: str, after: int = 0) -> LogBounds:
    """What the log behind a stream holds; see `LogFollower.bounds`. Raises UnavailableError."""
    try:
        return await request.app[FOLLOWER].bounds(log_id, after=after)
    except (RedisError, OSError):
        raise queue_unavailable() from None


def check_place(bounds: LogBounds, after: int, gone: JanError) -> None:
    """Raise `gone` when events behind number `after` are gone, InvalidArgumentError when it was never said."""
    if bounds.last and bounds.first > after + 1:
        raise gone
    if after > bounds.last:
        raise InvalidArgumentError(
            f"Event {after} was never sent; the last one is {bounds.last}.", param=STARTING_AFTER
        )


def _place(request: web.Request) -> str | None:
    """What the query says goes over what a browser's EventSource adds by itself when it connects again."""
    named = request.query.get(STARTING_AFTER)
    header = request.headers.get(LAST_EVENT_HEADER)
    return header if header and (named is None or _is_later(header, named)) else named


def _is_later(header: str, named: str) -> bool:
    by_header, by_query = _parsed(header), _parsed(named)
    return by_header is not None and by_query is not None and by_header > by_query


def _parsed(text: str) -> Place | None:
    found = _PLACE.fullmatch(text)
    return None if found is None else Place(int(found[1] or 1), int(found[2]))


def _no_number() -> InvalidArgumentError:
    return InvalidArgumentError(
        f"'{STARTING_AFTER}' or {LAST_EVENT_HEADER} must be the number of an event.", param=STARTING_AFTER
    )
