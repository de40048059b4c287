"""POST /v1/messages/batches: what may be sent (Anthropic's BatchCreateParams)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from gateway.schemas.anthropic_blocks import Sent
from gateway.schemas.chat import unsupported
from gateway.schemas.common import JsonObject

MAX_REQUESTS = 100_000  # Anthropic's


class BatchedMessage(Sent):
    """One request; what it asks for is looked at when its turn comes, and is its own matter."""

    custom_id: Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    params: JsonObject


class CreateMessageBatch(Sent):
    """The request body."""

    requests: Annotated[list[BatchedMessage], Field(min_length=1, max_length=MAX_REQUESTS)]
    user_profile_id: Any = None
    workspace_id: Any = None

    _not_built: ClassVar[tuple[str, ...]] = ("user_profile_id", "workspace_id")

    def check_supported(self) -> None:
        """Refuse what is not built. Raises InvalidArgumentError, naming the field."""
        for name in self._not_built:
            if getattr(self, name):
                raise unsupported(name)
