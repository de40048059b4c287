"""A document that comes with a request: an upload, or the bytes themselves in base64."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Self

from pydantic import StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import NO_NUL, RequestModel, missing


class SentFile(RequestModel):
    """A document, whose text the model is shown."""

    file_id: Annotated[str, StringConstraints(max_length=128)] | None = None
    file_data: str | None = None
    filename: Annotated[str, StringConstraints(max_length=255), NO_NUL] | None = None

    @model_validator(mode="after")
    def _says_where_it_is(self) -> Self:
        return self._with_one_source()

    def _with_one_source(self) -> Self:
        """Itself. Raises PydanticCustomError: it is in no place, in two, or in none that can be read."""
        if (self.file_id is None) == (self.file_data is None):
            raise PydanticCustomError("missing", "A file needs one of {names}", {"names": "'file_id' and 'file_data'"})
        if self.file_data is not None and not self.filename:
            raise missing("filename")
        if self.file_data is not None and self._decoded() is None:
            raise PydanticCustomError("invalid_value", "'file_data' must be base64, or a data: URL of it")
        return self

    @property
    def data(self) -> bytes:
        """The bytes that were sent; none for an upload."""
        return self._decoded() or b""

    def _decoded(self) -> bytes | None:
        said = self.file_data or ""
        head, comma, rest = said.partition(",")
        if said.startswith("data:") and not (comma and head.endswith(";base64")):
            return None
        try:
            return base64.b64decode(rest if said.startswith("data:") else said, validate=True)
        except (binascii.Error, ValueError):
            return None
