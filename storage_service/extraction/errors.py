"""Why a file has no text for us, in OpenAI's two words for it."""

from typing import ClassVar


class ExtractionError(Exception):
    """No text came out of a file. The message is for the person who sent it."""

    code: ClassVar[str] = "server_error"


class UnsupportedFileError(ExtractionError):
    """A form of file that no text is taken out of."""

    code = "unsupported_file"


class InvalidFileError(ExtractionError):
    """A form that is known, but broken, locked, empty, or larger than we read."""

    code = "invalid_file"
