"""model.yml: cortex's flat map beside the weights (Jan 0.5.8 to 0.5.17), and Jan 0.6's, which says little.

Both are turned into the shape of model.json and read as that. Paths in them are relative to the janroot.
"""

from storage_service.store.forms import fields
from storage_service.store.forms.models import LOAD_KEYS, REQUEST_KEYS
from storage_service.store.records import JsonObject

_ABOUT = frozenset({"id", "model", "name", "version", "engine", "files", "sources", "description", "created", "object"})
# Jan 0.6's name -> model.json's.
_SETTINGS = {"model_path": "llama_model_path", "mmproj_path": "mmproj"}


def is_model(raw: JsonObject) -> bool:
    """Whether a YAML file describes a model."""
    return any(key in raw for key in ("model_path", "files", "model"))


def to_model_json(raw: JsonObject, engine: str) -> JsonObject:
    """The same in the shape of model.json. `engine` is what runs the models of the folder that it lies in."""
    named = {_SETTINGS.get(key, key): value for key, value in raw.items()}
    files = raw.get("files")
    listed = files if isinstance(files, list) else [files]
    return {
        "id": _text(raw, "model") or _text(raw, "id"),
        "name": _text(raw, "name"),
        "version": _text(raw, "version"),
        "description": _text(raw, "description"),
        "created": raw.get("created"),
        "engine": fields.text(raw, "engine") or engine,
        "format": "mlx" if engine == "mlx" else "gguf",
        "sources": [{"filename": name} for name in listed if isinstance(name, str)],
        "settings": {key: value for key, value in named.items() if key in LOAD_KEYS},
        "parameters": {key: value for key, value in named.items() if key in REQUEST_KEYS},
        "metadata": {key: value for key, value in named.items() if key not in LOAD_KEYS | REQUEST_KEYS | _ABOUT},
    }


def _text(raw: JsonObject, key: str) -> str:
    """A text; YAML reads a version as a number."""
    value = raw.get(key)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else fields.text(raw, key)
