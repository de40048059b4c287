"""Bytes to text, in the encodings that OpenAI names for files: UTF-8, UTF-16 and ASCII."""

from storage_service.extraction.errors import InvalidFileError


def decode(data: bytes) -> str:
    """The text; UTF-16 is told by its mark. Raises InvalidFileError: it is in none of these encodings."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise InvalidFileError("The file's text is neither UTF-8 nor UTF-16.") from None
