"""model.json: Jan 0.4.3 to 0.5 and our own, which is the same form."""

from pathlib import PurePosixPath

from jan.ids import ModelId
from storage_service.store.forms import fields
from storage_service.store.records import JsonObject, Model

# Jan's names for what we run. Its remote engines differ in the address only, so all of them are `openai` here.
_LLAMACPP = frozenset({"", "nitro", "cortex", "llama-cpp", "cortex.llamacpp", "llamacpp"})
_OWN = frozenset({"vllm", "openai"})


def from_json(model_id: ModelId, raw: JsonObject, made_ms: int) -> Model:
    """A model from its file. No field is required; `made_ms` stands in for a missing creation time.

    The folder's path below `models/` is the id: it is the one name that cannot be given twice.
    """
    metadata = fields.obj(raw, "metadata")
    settings = fields.obj(raw, "settings")
    model_format = fields.text(raw, "format") or "gguf"
    return Model(
        id=model_id,
        created_ms=fields.time_ms(raw, "created", "created_at") or made_ms,
        owned_by=fields.text(raw, "owned_by") or fields.text(metadata, "author") or "you",
        name=fields.text(raw, "name") or model_id,
        description=fields.text(raw, "description"),
        version=fields.text(raw, "version"),
        engine=_engine(fields.text(raw, "engine"), model_format),
        format=model_format,
        settings=settings,
        parameters=fields.obj(raw, "parameters"),
        metadata=metadata,
        files=() if model_format == "api" else _files(raw, settings),
        source_url=_source_url(raw),
    )


def _engine(engine: str, model_format: str) -> str:
    if model_format == "api":
        return "openai"
    if engine in _OWN:
        return engine
    if engine in _LLAMACPP:
        return "vllm" if model_format == "safetensors" and not engine else "llamacpp"
    return engine


def _files(raw: JsonObject, settings: JsonObject) -> tuple[str, ...]:
    """Weights named by the file, in its order, as long as they stay in the model's folder."""
    names = [fields.text(source, "filename") for source in fields.objects(raw, "sources")]
    names += [fields.text(settings, "llama_model_path"), fields.text(settings, "mmproj")]
    return tuple(dict.fromkeys(name for name in names if _stays_inside(name)))


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return name not in ("", "N/A") and "\\" not in name and not path.is_absolute() and ".." not in path.parts


def _source_url(raw: JsonObject) -> str:
    urls = [fields.text(source, "url") for source in fields.objects(raw, "sources")]
    return next((url for url in urls if url not in ("", "N/A")), fields.text(raw, "source_url"))
