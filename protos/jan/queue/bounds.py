"""What an operator sets for the queue: how much may wait, and whose share is larger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from jan.errors import ResourceExhaustedError

# When to come again to a full queue while nothing tells how fast it moves, and at the latest: OpenAI's clients give
# up at once when they are told more than a minute.
_UNKNOWN_RETRY_SECONDS = 5
_MOST_RETRY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class QueueBounds:
    """How many jobs may wait, of one tenant and in all; jobs in a worker's hands do not count. -1: any number."""

    of_tenant: int = -1
    in_all: int = -1

    def refusal(self, reason: str, milliseconds: str) -> ResourceExhaustedError:
        """The error for a refused submit. milliseconds: until a place may be free; empty when that is not known."""
        seconds = math.ceil(int(milliseconds) / 1000) if milliseconds else _UNKNOWN_RETRY_SECONDS
        if reason == "full":
            message, code = f"The queue is full: {self.in_all} requests wait. Try again later.", "queue_full"
        else:
            message = f"{self.of_tenant} requests of yours wait already. Try again when some are answered."
            code = "rate_limit_exceeded"
        return ResourceExhaustedError(message, code=code, retry_after_seconds=min(max(1, seconds), _MOST_RETRY_SECONDS))


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
