"""/v1/conversations: what may be sent."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.schemas.common import Metadata, RequestModel
from gateway.schemas.response_items import Items

MAX_ITEMS = 20


def _no_text(items: Any) -> Any:
    if isinstance(items, str):
        raise PydanticCustomError("list_type", "A text stands for an item where a response is asked for alone")
    return items


_NO_TEXT = BeforeValidator(_no_text)


class CreateConversation(RequestModel):
    """POST /v1/conversations."""

    items: Annotated[Items, Field(max_length=MAX_ITEMS), _NO_TEXT] | None = None
    metadata: Metadata | None = None


class UpdateConversation(RequestModel):
    """POST /v1/conversations/{conversation_id}: metadata is all that can be changed."""

    metadata: Metadata | None = None


class CreateItems(RequestModel):
    """POST /v1/conversations/{conversation_id}/items."""

    items: Annotated[Items, Field(min_length=1, max_length=MAX_ITEMS), _NO_TEXT]
