"""/v1/conversations: what may be sent."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.schemas.common import Metadata, RequestModel
from gateway.schemas.response_items import Items

MAX_ITEMS = 20


class CreateConversation(RequestModel):
    """POST /v1/conversations."""

    items: Annotated[Items, Field(max_length=MAX_ITEMS)] | None = None
    metadata: Metadata | None = None


class UpdateConversation(RequestModel):
    """POST /v1/conversations/{conversation_id}: metadata is all that can be changed."""

    metadata: Metadata | None = None


class CreateItems(RequestModel):
    """POST /v1/conversations/{conversation_id}/items."""

    items: Annotated[Items, Field(min_length=1, max_length=MAX_ITEMS)]
