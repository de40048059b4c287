"""Finding the model that a request names."""

from __future__ import annotations

import orjson

from gateway.services.storage import StorageClient
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
    and a remote one, which is told all that is said, only when there is no other; one that is there to embed never
    chats for those who did not name it. Raises NotFoundError.
    """
    if name and name != ANY_MODEL:
        return await find_model(storage, name)
    candidates = [model for model in await storage.list_models() if not of_assistant(model)]
    models = [model for model in candidates if not embeds(model)]
    if not models:
        message = "This server has no model that chats yet." if candidates else "This server has no model yet."
        raise NotFoundError(message, code="model_not_found", param="model")
    return min(models, key=lambda model: (model.engine == REMOTE_ENGINE, model.created_at.ToMilliseconds(), model.id))


def may_see(model: models_pb2.Model) -> bool:
    """Whether a request may show it images: of a remote one its server knows, and says so."""
    return model.sees or model.engine == REMOTE_ENGINE


def embeds(model: models_pb2.Model) -> bool:
    """Whether its settings say that it is loaded for embeddings; Jan wrote true as text for a while."""
    settings = orjson.loads(model.settings_json) if model.settings_json else {}
    return isinstance(settings, dict) and str(settings.get("embedding")).lower() == "true"


def of_assistant(model: models_pb2.Model) -> bool:
    """Whether it came along with an assistant."""
    return model.folder.startswith(_OF_ASSISTANTS)


def model_spec(model: models_pb2.Model) -> jobs_pb2.ModelSpec:
    """What an engine host needs to know of a model."""
    base = model.base
    return jobs_pb2.ModelSpec(
        id=model.id,
        engine=model.engine,
        format=model.format,
        settings_json=model.settings_json,
        files=model.files,
        source_url=model.source_url,
        folder=model.folder,
        base=jobs_pb2.BaseModel(id=base.id, engine=base.engine, files=base.files, folder=base.folder)
        if model.HasField("base")
        else None,
    )
