"""TextService: what a document says, as vector stores would read it, for a model that is shown it whole."""

import tempfile
from collections.abc import Callable
from contextlib import closing
from typing import Any

from grpc import aio

from jan.errors import InternalError, InvalidArgumentError, UnavailableError
from jan.ids import FileId
from jan.storage.v1 import texts_pb2 as pb
from jan.storage.v1.texts_pb2_grpc import TextServiceServicer
from storage_service.access import Access
from storage_service.extraction.errors import ExtractionError, InvalidFileError, UnsupportedFileError
from storage_service.extraction.extract import StoppedError, extract
from storage_service.store.files import OpenFile
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]

# Longer than the context of most models.
MAX_TEXT_BYTES = 1024 * 1024


class TextServicer(TextServiceServicer):
    """See texts.proto. `extracting`: a door with few workers, as each may keep one for minutes."""

    def __init__(self, extracting: Access, store: Store, is_stopping: Callable[[], bool]) -> None:
        self._extracting = extracting
        self._store = store
        self._is_stopping = is_stopping

    async def ExtractText(self, request: pb.ExtractTextRequest, context: Context) -> pb.ExtractTextResponse:
        """See texts.proto."""
        named = request.filename
        if request.HasField("file_id"):
            file_id = FileId.parse(request.file_id)
            return await self._extracting.run(lambda: self._of_upload(file_id, named))
        return await self._extracting.run(lambda: self._of_bytes(request.content, named))

    def _of_upload(self, file_id: FileId, named: str) -> pb.ExtractTextResponse:
        with closing(OpenFile()) as opened:
            file = self._store.files.open(file_id, opened)
            return self._text(opened.fd, named or file.filename)

    def _of_bytes(self, content: bytes, name: str) -> pb.ExtractTextResponse:
        with tempfile.TemporaryFile(dir=self._store.layout.staging) as file:
            file.write(content)
            file.flush()
            return self._text(file.fileno(), name)

    def _text(self, fd: int, name: str) -> pb.ExtractTextResponse:
        try:
            text = extract(fd, name, self._is_stopping)
        except (UnsupportedFileError, InvalidFileError) as error:
            raise InvalidArgumentError(f"'{name:.100}': {error}", code=error.code) from None
        except ExtractionError as error:
            raise InternalError(str(error)) from None
        except StoppedError:
            raise UnavailableError("Storage is leaving; ask again.", retry_after_seconds=1) from None
        if len(text.encode()) > MAX_TEXT_BYTES:
            message = f"'{name:.100}' has more than {MAX_TEXT_BYTES} bytes of text; put it into a vector store instead."
            raise InvalidArgumentError(message, code="invalid_file")
        return pb.ExtractTextResponse(text=text, filename=name)
