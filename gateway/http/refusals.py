"""What pydantic finds wrong with a request, as OpenAI's error: the field at fault, a code, and OpenAI's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.http import wording
from gateway.http.wording import MAX_ECHO
from jan.errors import InvalidArgumentError

MAX_FAULTS: Final = 256
"""So many are looked at for the one that is told; more than the branches of any union and their fields."""
FIELD: Final = "field"
"""In the context of an error that a schema raises itself: what of that which it checked is at fault, as `[1].name`."""

_UNKNOWN: Final = "extra_forbidden"
_MISSING: Final = "missing"
# What pydantic puts in front of a message that is a schema's own.
_OUR_OWN: Final = "Value error, "
# Of these errors OpenAI's messages do not name the field: they say themselves whose schema it is.
_SCHEMAS: Final = ("invalid_function_parameters", "invalid_json_schema")
# pydantic's reasons that OpenAI has a code for.
_CODES: Final = {
    _MISSING: "missing_required_parameter",
    "too_long": "array_above_max_length",
    "too_short": "empty_array",
    **{code: code for code in (*_SCHEMAS, "unsupported_content", "unsupported_parameter")},
}
# pydantic's errors about types, and what would have been right.
_TYPES: Final = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
# How pydantic tells the values of a literal.
_QUOTED: Final = re.compile(r"'([^']*)'")
# Where a number lies: the bound in pydantic's context, how OpenAI compares it, its code and its words.
_BOUNDS: Final = {
    "greater_than": ("gt", ">", "below_min", "below minimum"),
    "greater_than_equal": ("ge", ">=", "below_min", "below minimum"),
    "less_than": ("lt", "<", "above_max", "above maximum"),
    "less_than_equal": ("le", "<=", "above_max", "above maximum"),
}

Path = Sequence[int | str]


def refusal_of(error: ValidationError) -> InvalidArgumentError:
    """The error that a client is told: of the first field at fault."""
    fault = _at_fault(error.errors(include_url=False)[:MAX_FAULTS])
    kind, context = fault["type"], fault.get("ctx", {})
    param = _written(_path(fault))[:MAX_ECHO]
    if kind == _UNKNOWN:
        return InvalidArgumentError(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
    if (known := _in_openais_words(fault, param)) is not None:
        return known
    code = _CODES.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")
    if kind == _MISSING and (FIELD in context or not context):
        return InvalidArgumentError(f"Missing required parameter: '{param}'.", param=param, code=code)
    told = fault["msg"].removeprefix(_OUR_OWN)
    is_named = param and kind not in _SCHEMAS
    return InvalidArgumentError(f"Invalid '{param}': {told}." if is_named else f"{told}.", param=param, code=code)


def _in_openais_words(fault: ErrorDetails, name: str) -> InvalidArgumentError | None:
    """The error, if it is one of pydantic's own that OpenAI has words for."""
    kind, context, got = fault["type"], fault.get("ctx", {}), fault["input"]
    match kind:
        case _ if kind in _BOUNDS:
            return _out_of_bounds(fault, name)
        case _ if kind in _TYPES:
            message, code = wording.wrong_type(name, _TYPES[kind], got), "invalid_type"
        case "literal_error" if isinstance(got, str):
            supported = _QUOTED.findall(context["expected"])
            message, code = wording.unsupported_value(got, supported), "invalid_value"
        case "literal_error":
            message, code = wording.wrong_type(name, f"one of {context['expected']}", got), "invalid_type"
        case "string_pattern_mismatch":
            message, code = wording.no_match(name, context["pattern"]), "invalid_value"
        case "string_too_long":
            message = wording.too_long(name, "string", context["max_length"], len(got))
            code = "string_above_max_length"
        case "too_long" if "max_length" in context and isinstance(got, dict):
            message = wording.too_many_properties(name, context["max_length"], len(got))
            code = "object_above_max_properties"
        case "too_long" if "max_length" in context and isinstance(got, list):
            message, code = wording.too_long(name, "array", context["max_length"], len(got)), "array_above_max_length"
        case "string_too_short" | "too_short" if isinstance(got, str | list):
            word = "string" if isinstance(got, str) else "array"
            message = wording.too_short(name, word, context["min_length"], len(got))
            code = f"{word}_below_min_length" if got else f"empty_{word}"
        case _:
            return None
    return InvalidArgumentError(message, param=name, code=code)


def _out_of_bounds(fault: ErrorDetails, param: str) -> InvalidArgumentError:
    name, sign, code, words = _BOUNDS[fault["type"]]
    bound = fault["ctx"][name]
    kind = "decimal" if isinstance(bound, float) else "integer"
    message = wording.out_of_bounds(param, f"{kind} {words} value", sign, _plain(bound), fault["input"])
    return InvalidArgumentError(message, param=param, code=f"{kind}_{code}_value")


def _plain(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _at_fault(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    """The first error; but of a union's branches the one counts that came furthest, for that is the one meant.

    Where a field is missing beside one that nobody knows, it was misspelt.
    """
    first = _path(errors[0])
    fault = max((one for one in errors if _path(one)[: len(first)] == first), key=lambda one: len(_path(one)))
    if fault["type"] != _MISSING:
        return fault
    beside = (one for one in errors if one["type"] == _UNKNOWN and one["loc"][:-1] == fault["loc"][:-1])
    return next(beside, fault)


def _path(error: ErrorDetails) -> Path:
    """Where the fault lies, without the names of union branches.

    A name that nobody knows comes out of the request, so it is told however it looks.
    """
    is_sent, last = error["type"] == _UNKNOWN, len(error["loc"])
    path = [
        part
        for place, part in enumerate(error["loc"], 1)
        if isinstance(part, int) or (part.isidentifier() and part[0].islower()) or (is_sent and place == last)
    ]
    return [*path, *filter(None, [error.get("ctx", {}).get(FIELD)])]


def _written(path: Path) -> str:
    """`messages[0].role`."""
    return "".join(map(_step, path)).removeprefix(".")


def _step(part: int | str) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return part if part.startswith("[") else f".{part}"
