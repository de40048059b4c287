"""Reading an upload: a multipart form with one file, taken piece by piece.

What strangers send here is bounded in every direction: the file's length, the number of parts, the length of a
field, the time between two pieces and the time of the whole (docs/security.md S2, S28). The limit of JSON bodies does
not hold here.
"""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
import warnings
from collections.abc import AsyncGenerator, Awaitable, Collection, Mapping
from typing import TypeVar

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.http.wording import MAX_ECHO
from jan.errors import InvalidArgumentError, TooLargeError, UnsupportedMediaTypeError

FORM_TYPE = "multipart/form-data"
MAX_FILE_BYTES = 512 * 1024 * 1024
# What a form may hold beside its file: headers, boundaries, fields.
MAX_FORM_BYTES = 1024 * 1024
MAX_PARTS = 16
MAX_FIELD_BYTES = 4096
MAX_FILENAME_LENGTH = 255
PIECE_BYTES = 256 * 1024
IDLE_SECONDS = 30.0

ResultT = TypeVar("ResultT")

_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})
# What aiohttp raises, or warns of, when a form is none.
_MALFORMED = (
    ValueError,
    LookupError,
    AssertionError,
    RuntimeError,
    RuntimeWarning,
    HttpProcessingError,
    web.RequestPayloadError,
)


class UploadDigest:
    """Tells two uploads apart by what they bring, not by the boundary that each form makes up for itself."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def begin_part(self, name: str, filename: str) -> None:
        """A form's part begins."""
        self._hash.update(f"\0{name}\0{filename}\0".encode("utf-8", "surrogateescape"))

    def add(self, data: bytes) -> None:
        """The next bytes of a part, or of a body that is the file itself."""
        self._hash.update(data)
        self.size_bytes += len(data)

    def hexdigest(self) -> str:
        """The digest of what came so far."""
        return self._hash.hexdigest()


DIGEST = web.RequestKey("upload_digest", UploadDigest)
"""Set for a request whose upload is to be known again."""


class Form:
    """A multipart form on its way in: first the pieces of its file from `pieces`, then its other `fields`."""

    def __init__(self, request: web.Request, most_bytes: int | None = None) -> None:
        """Look at the headers. Raises UnsupportedMediaTypeError, TooLargeError: before anything is read."""
        if request.content_type != FORM_TYPE:
            raise UnsupportedMediaTypeError("Send the file as Content-Type: multipart/form-data.")
        self._request = request
        # OpenAI's word for a part of an upload (`/v1/uploads/{upload_id}/parts`) is another than for a file.
        self._file_field = "data" if "upload_id" in request.match_info else "file"
        self._digest = request.get(DIGEST) or UploadDigest()
        self._most_bytes = MAX_FILE_BYTES if most_bytes is None else most_bytes
        if (request.content_length or 0) > self._most_bytes + MAX_FORM_BYTES:
            raise _too_large(self._most_bytes, self._file_field)
        self.filename = ""
        self.fields: dict[str, str] = {}

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The file's bytes as they come, in order; fields in front of and behind it are read in passing.

        Raises InvalidArgumentError: not a form, no file or two, a field too long, too slow. TooLargeError.
        """
        found = False
        try:
            reader = await self._request.multipart()
            parts = 0
            while (part := await _in_time(reader.next())) is not None:
                parts += 1
                if parts > MAX_PARTS:
                    raise InvalidArgumentError(f"A form may have at most {MAX_PARTS} parts.")
                if not isinstance(part, BodyPartReader):
                    raise InvalidArgumentError("A form's part cannot be a form itself.")
                name, filename = _names(part)
                self._digest.begin_part(name, filename or "")
                if name != self._file_field:
                    await self._read_field(name, part)
                elif found or filename is None:
                    message = f"'{self._file_field}' must be one file, with a name."
                    raise InvalidArgumentError(message, param=self._file_field)
                else:
                    found = True
                    self.filename = label(filename)
                    async for data in self._file(part):
                        yield data
        except _MALFORMED:
            message = "We could not read the form of your request: it is not well-formed, or was cut off."
            raise InvalidArgumentError(message) from None
        if not found:
            message = f"Missing required parameter: '{self._file_field}'."
            raise InvalidArgumentError(message, param=self._file_field, code="missing_required_parameter")

    async def _file(self, part: BodyPartReader) -> AsyncGenerator[bytes, None]:
        if part.headers.get("Content-Transfer-Encoding", "").lower() not in _PLAIN_ENCODINGS:
            raise InvalidArgumentError(
                "Send the file's bytes as they are, without a transfer encoding.", param=self._file_field
            )
        size = 0
        while not part.at_eof():
            data = await _in_time(part.read_chunk(PIECE_BYTES))
            size += len(data)
            if size > self._most_bytes:
                raise _too_large(self._most_bytes, self._file_field)
            self._digest.add(data)
            yield bytes(data)

    async def _read_field(self, name: str, part: BodyPartReader) -> None:
        value = b""
        while not part.at_eof():
            value += await _in_time(part.read_chunk())
            if len(value) > MAX_FIELD_BYTES:
                raise InvalidArgumentError(f"Invalid '{name}': it is too long.", param=name)
        self._digest.add(value)
        if name in self.fields:
            raise InvalidArgumentError(f"Invalid '{name}': it was sent twice.", param=name)
        try:
            self.fields[name] = value.decode()
        except UnicodeDecodeError:
            raise InvalidArgumentError(f"Invalid '{name}': it is no text.", param=name) from None


async def body_pieces(request: web.Request, most_bytes: int, param: str = "file") -> AsyncGenerator[bytes, None]:
    """A request's body as it comes, when that is the file itself, or JSON that is kept as one.

    Raises InvalidArgumentError: it is not encoded as it says, or too slow. TooLargeError.
    """
    if (request.content_length or 0) > most_bytes:
        raise _too_large(most_bytes, param)
    size = 0
    digest = request.get(DIGEST) or UploadDigest()
    try:
        while data := await _in_time(request.content.read(PIECE_BYTES)):
            size += len(data)
            if size > most_bytes:
                raise _too_large(most_bytes, param)
            digest.add(data)
            yield data
    except _MALFORMED:
        message = "We could not read the body of your request: it is not encoded as its headers say, or was cut off."
        raise InvalidArgumentError(message) from None


class Upload:
    """A file that is the body itself or comes in a form: its `pieces` first, then the `fields` beside it."""

    def __init__(self, request: web.Request, most_bytes: int, raw_types: Collection[str], wanted: str) -> None:
        """Look at the headers. raw_types: of bodies that are the file; wanted: what to say to those who send others.

        Raises UnsupportedMediaTypeError, TooLargeError: before anything is read.
        """
        self._request = request
        self._most_bytes = most_bytes
        self._form = Form(request, most_bytes) if request.content_type == FORM_TYPE else None
        if self._form is None and request.content_type not in raw_types:
            raise UnsupportedMediaTypeError(wanted)

    @property
    def fields(self) -> Mapping[str, str]:
        """What stands beside the file; known when all pieces were taken."""
        return self._form.fields if self._form is not None else {}

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """The file's bytes as they come. Close the generator. Raises what `Form.pieces` and `body_pieces` raise."""
        return body_pieces(self._request, self._most_bytes) if self._form is None else self._form.pieces()


async def hear_out(request: web.Request, most_bytes: int) -> None:
    """Read an upload for its digest alone. Raises what reading it raises; TooLargeError beyond `most_bytes`."""
    async for _ in Upload(request, most_bytes, {request.content_type}, "").pieces():
        pass


async def _in_time(reading: Awaitable[ResultT]) -> ResultT:
    """What a read gives. Raises InvalidArgumentError: the client sent nothing for too long."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await reading
    except TimeoutError:
        raise InvalidArgumentError("The upload stood still for too long.", code="upload_stalled") from None


def label(filename: str) -> str:
    """A client's name for a file as it is kept: never a path, so only made showable and cut at a length."""
    shown = "".join("_" if unicodedata.category(letter) in {"Cc", "Cs"} else letter for letter in filename)
    return shown[:MAX_FILENAME_LENGTH] or "upload"


def _names(part: BodyPartReader) -> tuple[str, str | None]:
    """The name of a part's field, and the file's name when it has one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a malformed header: it gives no name
        name = part.name
        filename = part.filename
    if not name:
        raise InvalidArgumentError("A form's part needs a name.")
    return _echo(name), filename


def _echo(text: str) -> str:
    """A stranger's text as an error may repeat it."""
    return repr(text.encode("ascii", "backslashreplace").decode())[1:-1][:MAX_ECHO]


def _too_large(most_bytes: int, param: str = "file") -> TooLargeError:
    what = {"file": "A file", "data": "A part"}.get(param, "A request body")
    return TooLargeError(f"{what} may hold at most {most_bytes} bytes.", param=param)
