"""What models read as it is, without a chat around it: a text, texts, tokens or lists of tokens."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, StringConstraints, Tag
from pydantic_core import PydanticCustomError

from gateway.schemas.common import NO_NUL

InputText = Annotated[str, StringConstraints(min_length=1), NO_NUL]
Tokens = Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(min_length=1)]


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind_of(value: Any) -> str | None:
    """What is meant, as its first item says. In capitals, so that errors leave it out when they name a field."""
    match value:
        case str():
            return "TEXT"
        case [first, *_] if _is_token(first):
            return "TOKENS"
        case [list(), *_]:
            return "LISTS_OF_TOKENS"
        case list():
            return "TEXTS"
        case _:
            return None


def _as_list(value: Any) -> Any:
    return [value] if _kind_of(value) in ("TEXT", "TOKENS") else value


Inputs = Annotated[
    Annotated[InputText, Tag("TEXT")]
    | Annotated[list[InputText], Field(min_length=1), Tag("TEXTS")]
    | Annotated[Tokens, Tag("TOKENS")]
    | Annotated[list[Tokens], Field(min_length=1), Tag("LISTS_OF_TOKENS")],
    Discriminator(
        _kind_of,
        custom_error_type="invalid_type",
        custom_error_message="It must be a text, a list of texts, or tokens",
    ),
    AfterValidator(_as_list),
]
"""Always a list when it was read, of texts or of lists of tokens, none of them empty."""


def at_most(most: int) -> BeforeValidator:
    """Refuse more inputs than so many, before each of them is looked at."""

    def check(value: Any) -> Any:
        if isinstance(value, list) and len(value) > most and not _is_token(value[0]):
            raise PydanticCustomError("too_long", "There may be at most {most} of them", {"most": most})
        return value

    return BeforeValidator(check)
