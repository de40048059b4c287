"""How an export asks for a moment without writers."""

from collections.abc import Callable
from typing import Protocol, TypeVar

Result = TypeVar("Result")


class Alone(Protocol):
    """Does some quick work while nobody here writes to a thread; see `Access.run_alone`."""

    def __call__(self, thread_id: str, work: Callable[[], Result]) -> Result:
        """The work's result."""


def at_once(thread_id: str, work: Callable[[], Result]) -> Result:
    """For who is the only one: the work is done at once."""
    del thread_id
    return work()
