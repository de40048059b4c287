"""ModelService over the store."""

from typing import Any

from grpc import aio

from jan.ids import ModelId
from jan.storage.v1 import models_pb2 as pb
from jan.storage.v1.models_pb2_grpc import ModelServiceServicer
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.store.forms.models import ModelChange
from storage_service.store.model_changes import ModelChanges
from storage_service.store.models import Models
from storage_service.store.records import Model

# One key for all that changes models: they are few, and one may be about what another needs.
LOCK = "models/"

Context = aio.ServicerContext[Any, Any]


class ModelServicer(ModelServiceServicer):
    """See models.proto."""

    def __init__(self, access: Access, models: Models, changes: ModelChanges) -> None:
        self._access = access
        self._models = models
        self._changes = changes

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """See models.proto."""
        model_id = ModelId.parse(request.model_id)
        model = await self._access.run(lambda: self._models.get(model_id))
        return pb.GetModelResponse(model=to_proto(model))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """See models.proto."""
        models = await self._access.run(self._models.all)
        return pb.ListModelsResponse(models=map(to_proto, models))

    async def UpdateModel(self, request: pb.UpdateModelRequest, context: Context) -> pb.UpdateModelResponse:
        """See models.proto."""
        model_id = ModelId.parse(request.model_id)
        change = ModelChange(
            name=request.name if request.HasField("name") else None,
            description=request.description if request.HasField("description") else None,
            version=request.version if request.HasField("version") else None,
            settings=values.load_object(request.settings_json, "settings"),
            parameters=values.load_object(request.parameters_json, "parameters"),
            metadata=values.load_object(request.metadata_json, "metadata"),
        )
        model = await self._access.run_alone(LOCK, lambda: self._changes.change(model_id, change, request.if_revision))
        return pb.UpdateModelResponse(model=to_proto(model))

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.DeleteModelResponse:
        """See models.proto."""
        model_id = ModelId.parse(request.model_id)
        trash_id = await self._access.run_alone(LOCK, lambda: self._changes.delete(model_id, request.if_revision))
        return pb.DeleteModelResponse(trash_id=trash_id)


def to_proto(model: Model) -> pb.Model:
    """A model for the wire."""
    base = model.base
    return pb.Model(
        id=model.id,
        created_at=values.timestamp(model.created_ms),
        owned_by=model.owned_by,
        name=model.name,
        description=model.description,
        version=model.version,
        engine=model.engine,
        format=model.format,
        settings_json=values.dump(model.settings),
        parameters_json=values.dump(model.parameters),
        metadata_json=values.dump(model.metadata),
        files=model.files,
        source_url=model.source_url,
        folder=model.folder,
        revision=model.revision,
        size_bytes=model.size_bytes,
        sources=[pb.ModelSource(filename=source.filename, url=source.url) for source in model.sources],
        missing_files=model.missing,
        base=pb.BaseModel(id=base.id, engine=base.engine, files=base.files, folder=base.folder) if base else None,
        sees=model.sees,
    )
