"""Finding the model that a request names."""

from __future__ import annotations

from gateway.storage import StorageClient
from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import ModelId
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import models_pb2

# How Jan's assistants say "any model".
ANY_MODEL = "*"

REMOTE_ENGINE = "openai"
_OF_ASSISTANTS = "assistants/"


async def find_model(storage: StorageClient, name: str) -> models_pb2.Model:
    """The model of that id.

    Raises NotFoundError with code `model_not_found`, whether the id is unknown or cannot be an id at all.
    """
    try:
        return await storage.get_model(ModelId.parse(name))
    except (NotFoundError, InvalidArgumentError):
        raise NotFoundError(
            f"The model '{name[:64]}' does not exist; GET /v1/models lists those that do.",
            code="model_not_found",
            param="model",
        ) from None


async def find_model_or_any(storage: StorageClient, name: str) -> models_pb2.Model:
    """The model of that id; for an empty name or `*` the oldest there is, so that a new one changes no conversation.

    A stranger may have made his as old as he likes, so one that came along with an assistant is used by its name alone,
    and a remote one, which is told all that is said, only when there is no other. Raises NotFoundError.
    """
    if name and name != ANY_MODEL:
        return await find_model(storage, name)
    models = [model for model in await storage.list_models() if not model.folder.startswith(_OF_ASSISTANTS)]
    if not models:
        raise NotFoundError("This server has no model yet.", code="model_not_found", param="model")
    return min(models, key=lambda model: (model.engine == REMOTE_ENGINE, model.created_at.ToMilliseconds(), model.id))


def model_spec(model: models_pb2.Model) -> jobs_pb2.ModelSpec:
    """What an engine host needs to know of a model."""
    return jobs_pb2.ModelSpec(
        id=model.id,
        engine=model.engine,
        format=model.format,
        settings_json=model.settings_json,
        files=model.files,
        source_url=model.source_url,
        folder=model.folder,
    )
