"""What several request schemas share: OpenAI's rules for metadata, limits and open-ended values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from gateway.http.refusals import FIELD
from gateway.http.wording import MAX_ECHO
from gateway.schemas.early import stop_at_the_first_fault

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
"""At most 16 pairs of a key of up to 64 and a value of up to 512 characters."""

Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(ge=0, le=1)]
JsonObject = dict[str, Any]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("invalid_value", "A text cannot hold the character U+0000")
    return text


NO_NUL = AfterValidator(_without_nul)
"""For texts that models read: engines written in C would end them at a NUL, silently. Stands after length limits."""
Text = Annotated[str, NO_NUL]


# More than any conversation holds, and few enough to be checked without holding others up (docs/security.md S28).
MAX_MESSAGES = 2048
MAX_PARTS = 64
# More than any object of a request has that OpenAI or Anthropic knows.
MAX_FIELDS = 128


def _is_countable(messages: Any) -> Any:
    """Refuse endless lists before each of their items is looked at."""
    if isinstance(messages, list):
        if len(messages) > MAX_MESSAGES:
            raise PydanticCustomError("too_long", "There may be at most {most} messages", {"most": MAX_MESSAGES})
        for message in messages:
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, list) and len(content) > MAX_PARTS:
                raise PydanticCustomError("too_long", "A message may have at most {most} parts", {"most": MAX_PARTS})
    return messages


COUNTABLE = BeforeValidator(_is_countable)
"""For lists of messages."""


class RequestModel(BaseModel):
    """A request body: null means absent, fields that nobody knows are accepted and ignored, types are not guessed."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _has_no_endless_unknown(cls, value: Any) -> Any:
        """Where unknown fields are refused, the first of many is, before each of them becomes an error."""
        if cls.model_config["extra"] == "forbid" and isinstance(value, dict) and len(value) > MAX_FIELDS:
            known = {field.alias or name for name, field in cls.model_fields.items()}
            unknown = next(name for name in value if name not in known)
            raise PydanticCustomError("extra_forbidden", "Nobody knows it", {FIELD: unknown[:MAX_ECHO]})
        return value

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """As pydantic reads the class, but for lists and maps."""
        schema = handler(source)
        stop_at_the_first_fault(handler.resolve_ref_schema(schema))
        return schema


class ClosedModel(RequestModel):
    """A request body, or a part of one, of which OpenAI's document says all there is: an unknown field is refused.

    Somebody misspelt an option there, and without it the answer would be another one (docs/decisions/0020).
    """

    model_config = ConfigDict(extra="forbid")


def one_of(*names: str) -> BeforeValidator:
    """For the field that tells a union's branches apart: all of its values are named, not those of one branch alone."""

    def check(value: Any) -> Any:
        if value not in names:
            raise PydanticCustomError("invalid_value", "It must be one of {names}", {"names": ", ".join(names)})
        return value

    return BeforeValidator(check)


def missing(name: str) -> PydanticCustomError:
    """The error of an object without a field that it needs in its case; for validators of the whole object."""
    return PydanticCustomError("missing", "It is missing", {FIELD: name})


def once(name_of: Callable[[Any], str | None], place: str) -> AfterValidator:
    """For lists of tools: of two that go by one name nobody could tell which one a call means.

    place: where a tool has its name, as `.function.name`.
    """

    def check(tools: list[Any]) -> list[Any]:
        seen: set[str] = set()
        for number, name in enumerate(map(name_of, tools)):
            if name is not None and name in seen:
                context = {"name": name, FIELD: f"[{number}]{place}"}
                raise PydanticCustomError("invalid_value", "Another tool goes by the name '{name}'", context)
            seen |= {name} if name is not None else set()
        return tools

    return AfterValidator(check)


class SentObject(RequestModel):
    """A part of a request that is kept as it was sent, unknown fields too, once its known ones have the right shape."""

    model_config = ConfigDict(extra="allow")

    def as_sent(self) -> JsonObject:
        """The object without what was not sent."""
        return self.model_dump(exclude_unset=True)
