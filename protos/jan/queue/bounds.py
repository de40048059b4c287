"""What an operator sets for the queue: how much may wait, and whose share is larger."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jan.errors import ResourceExhaustedError

# When to come again to a full queue while nothing tells how fast it moves, and at the latest: OpenAI's clients give
# up at once when they are told more than a minute.
_UNKNOWN_RETRY_SECONDS = 5
_MOST_RETRY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Room:
    """What a tenant may still send, as the queue counted it when it took or refused a job.

    limit: how many jobs of the tenant may wait, by the bound that leaves the fewest. remaining: how many more of them.
    reset_seconds: about how long until all that wait have begun.
    """

    limit: int
    remaining: int
    reset_seconds: int


@dataclass(frozen=True, slots=True)
class QueueBounds:
    """How many jobs may wait, of one tenant and in all; jobs in a worker's hands do not count. -1: any number."""

    of_tenant: int = -1
    in_all: int = -1

    def room(self, counted: Sequence[bytes | int]) -> Room | None:
        """What is left for a tenant once one more job of his is taken; None where nothing bounds him.

        counted: what a script says, its first word included. Raises ResourceExhaustedError: the job was refused.
        """
        outcome, *numbers = counted
        if not numbers:
            return None
        of_tenant, in_all = int(numbers[0]), int(numbers[1])
        reset_seconds = _seconds(numbers[2])
        if outcome != b"room":
            raise self._refusal(outcome == b"full", reset_seconds, _seconds(numbers[3]))
        places = [
            (bound - waiting - 1, bound) for bound, waiting in ((self.of_tenant, of_tenant), (self.in_all, in_all))
        ]
        remaining, limit = min(place for place in places if place[1] >= 0)
        return Room(limit, remaining, reset_seconds)

    def _refusal(self, for_all: bool, reset_seconds: int, retry_seconds: int) -> ResourceExhaustedError:
        if for_all:
            message, code = f"The queue is full: {self.in_all} requests wait. Try again later.", "queue_full"
        else:
            message = f"{self.of_tenant} requests of yours wait already. Try again when some are answered."
            code = "rate_limit_exceeded"
        return ResourceExhaustedError(
            message,
            code=code,
            retry_after_seconds=min(retry_seconds, _MOST_RETRY_SECONDS),
            limit=self.in_all if for_all else self.of_tenant,
            reset_seconds=reset_seconds,
        )


def _seconds(milliseconds: bytes | int) -> int:
    """A time that a script tells, in whole seconds and one at least."""
    return max(1, math.ceil(int(milliseconds) / 1000)) if milliseconds != b"" else _UNKNOWN_RETRY_SECONDS


UNBOUNDED = QueueBounds()


@dataclass(frozen=True, slots=True)
class Weights:
    """The tenants' shares beside each other; who is not named has `default`."""

    of_tenants: Mapping[str, float] = field(default_factory=dict)
    default: float = 1.0

    def of(self, tenant: str) -> float:
        """A tenant's weight."""
        return self.of_tenants.get(tenant, self.default)


EVEN = Weights()
