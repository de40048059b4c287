"""thread.json's `models`: what a thread overrides of single models, a key of the first draft that no Jan release reads.

The overrides of the chosen model stand where every release looks, in `assistants[].model`; those of others stand here.
"""

from typing import Any

from storage_service.store.forms import fields
from storage_service.store.records import JsonObject, ThreadModel


def from_json(raw: JsonObject) -> tuple[ThreadModel, ...]:
    """The models that a file says something of, each once."""
    found: dict[str, ThreadModel] = {}
    for item in _listed(raw):
        model = item if isinstance(item, dict) else {}
        if model_id := id_of(item):
            read = ThreadModel(model_id, fields.obj(model, "settings"), fields.obj(model, "parameters"))
            found.setdefault(model_id, read)
    return tuple(found.values())


def to_json(models: tuple[ThreadModel, ...]) -> list[JsonObject] | None:
    """The key's value; None for none."""
    return [_one(model) for model in models] or None


def change(raw: JsonObject, after: tuple[ThreadModel, ...]) -> list[Any] | None:
    """The key's value after a change. What nobody understands of it stays, and so does what else is said of a model."""
    wanted = {model.id: model for model in after}
    kept: list[Any] = []
    for item in _listed(raw):
        model_id = id_of(item)
        model = wanted.pop(model_id, None)
        if model is not None:
            kept.append(item | _one(model) if isinstance(item, dict) else _one(model))
        elif not model_id:
            kept.append(item)
    return [*kept, *map(_one, wanted.values())] or None


def id_of(item: Any) -> str:
    """The model's id, which the draft called its name; empty when there is none."""
    return (
        item
        if isinstance(item, str)
        else fields.text(item, "id") or fields.text(item, "name")
        if isinstance(item, dict)
        else ""
    )


def _listed(raw: JsonObject) -> list[Any]:
    models = raw.get("models")
    return models if isinstance(models, list) else []


def _one(model: ThreadModel) -> JsonObject:
    return {"id": model.id, "settings": model.settings, "parameters": model.parameters}
