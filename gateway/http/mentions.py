"""Files that a request mentions: what is wrong with one is told by the field that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jan.errors import InvalidArgumentError, NotFoundError

# What storage calls the file that it was asked for.
_ASKED_FOR = "id"


@contextmanager
def mentioned_in(param: str) -> Iterator[None]:
    """Inside, a file that is not there, or cannot be one, is the fault of this field. Raises what is raised inside."""
    try:
        yield
    except NotFoundError as error:
        if error.param != _ASKED_FOR:
            raise
        raise NotFoundError(error.message, param=param, code=error.code) from None
    except InvalidArgumentError as error:
        if error.param:
            raise
        raise InvalidArgumentError(error.message, param=param, code=error.code) from None
