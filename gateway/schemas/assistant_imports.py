"""POST /v1/assistants/import with a JSON body: an assistant by URL."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from gateway.fetching.policy import MAX_URL_LENGTH
from gateway.schemas.common import NO_NUL, RequestModel


class ImportAssistant(RequestModel):
    """Where an assistant is, under which id it is to be kept, and whether it is fetched now."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL_LENGTH), NO_NUL]
    id: str | None = None
    download: bool = True
