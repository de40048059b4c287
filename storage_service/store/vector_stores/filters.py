"""OpenAI's filters over the attributes of files: comparisons, and `and`/`or` of filters."""

from collections.abc import Callable, Mapping
from typing import Any

from jan.errors import InvalidArgumentError
from storage_service.store.records import JsonObject

_MAX_LEVELS = 16

_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": lambda held, wanted: held > wanted,
    "gte": lambda held, wanted: held >= wanted,
    "lt": lambda held, wanted: held < wanted,
    "lte": lambda held, wanted: held <= wanted,
}


def matches(filters: JsonObject | None, attributes: JsonObject, level: int = 0) -> bool:
    """Whether a file with these attributes is wanted.

    A file without the attribute is not equal to any value and in no list, and no order holds for it; nor does one
    between a number and a text. Raises InvalidArgumentError: it is no filter, or nested too deep.
    """
    match filters:
        case None:
            return True
        case _ if level >= _MAX_LEVELS:
            raise InvalidArgumentError(f"Filters may be nested at most {_MAX_LEVELS} levels deep.", param="filters")
        case {"type": "and", "filters": list(inner)}:
            return all(matches(each, attributes, level + 1) for each in inner)
        case {"type": "or", "filters": list(inner)}:
            return any(matches(each, attributes, level + 1) for each in inner)
        case {"type": str(operator), "key": str(key), "value": wanted}:
            return _compare(operator, attributes.get(key), wanted)
        case _:
            raise InvalidArgumentError("This is neither a comparison nor 'and' or 'or' of filters.", param="filters")


def _compare(operator: str, held: Any, wanted: Any) -> bool:
    match operator:
        case "eq":
            return _equal(held, wanted)
        case "ne":
            return not _equal(held, wanted)
        case "in" | "nin" if isinstance(wanted, list):
            return any(_equal(held, each) for each in wanted) == (operator == "in")
        case _ if operator in _ORDERED:
            return _comparable(held, wanted) and _ORDERED[operator](held, wanted)
        case _:
            raise InvalidArgumentError("A filter names no comparison that there is.", param="filters")


def _equal(held: Any, wanted: Any) -> bool:
    """JSON's equality: true is not 1."""
    return held == wanted and isinstance(held, bool) == isinstance(wanted, bool)


def _comparable(held: Any, wanted: Any) -> bool:
    if isinstance(held, bool) or isinstance(wanted, bool):
        return False
    numbers = isinstance(held, int | float) and isinstance(wanted, int | float)
    return numbers or (isinstance(held, str) and isinstance(wanted, str))
