"""ModelImportService over the store. Copying is cut into pieces, so others are answered meanwhile."""

import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from grpc import aio

from jan.ids import ModelId
from jan.storage.v1 import model_imports_pb2 as pb
from jan.storage.v1.model_imports_pb2_grpc import ModelImportServiceServicer
from storage_service.access import Access
from storage_service.servicers.models import LOCK, to_proto
from storage_service.store.model_imports.imports import ModelImport, ModelImports, Wanted

Context = aio.ServicerContext[Any, Any]

# How long a worker of the pool is held at a time, and how often progress is told.
_SLICE_SECONDS = 0.2


class ModelImportServicer(ModelImportServiceServicer):
    """See model_imports.proto."""

    def __init__(self, access: Access, imports: ModelImports) -> None:
        self._access = access
        self._imports = imports

    async def ImportModel(
        self, request: pb.ImportModelRequest, context: Context
    ) -> AsyncGenerator[pb.ImportModelResponse, None]:
        """See model_imports.proto."""
        wanted = Wanted(
            path=request.path,
            model_id=ModelId.parse(request.model_id) if request.model_id else None,
            name=request.name,
            copy=request.copy,
            base_model=request.base_model,
        )
        arriving = self._imports.new()
        pieces = arriving.copy()
        try:
            await self._access.run(lambda: arriving.stage(wanted, self._imports.paths))
            yield _progress(arriving)
            if wanted.copy:
                while await self._access.run(_slice_of(pieces)):
                    yield _progress(arriving)
            model = await self._access.run_alone(LOCK, lambda: arriving.publish(wanted))
        finally:
            await self._access.run(lambda: _end(arriving, pieces))
        left_out = arriving.selection.left_out
        yield pb.ImportModelResponse(imported=pb.ImportedModel(model=to_proto(model), left_out=left_out))


def _slice_of(pieces: Generator[None, None, None]) -> Callable[[], bool]:
    """Work for a moment; it answers whether there is more to do."""

    def work() -> bool:
        until = time.monotonic() + _SLICE_SECONDS
        return any(time.monotonic() > until for _ in pieces)

    return work


def _end(arriving: ModelImport, pieces: Generator[None, None, None]) -> None:
    pieces.close()
    arriving.discard()


def _progress(arriving: ModelImport) -> pb.ImportModelResponse:
    files = [
        pb.ModelImportFile(name=name, copied_bytes=arriving.copied.get(name, 0), size_bytes=size)
        for name, size in arriving.sizes.items()
    ]
    return pb.ImportModelResponse(progress=pb.ModelImportProgress(model_id=arriving.model_id, files=files))
