"""Load-time settings that a thread or an assistant may override of a model.

Only what changes how a model is loaded, never what is loaded or who runs it: no weights, paths or engines, nothing that
leaves the box, and no templates that are programs (docs/security.md S22). Those are for model.json.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from gateway.models.lookup import model_spec
from jan.errors import InvalidArgumentError
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import models_pb2

JsonObject = dict[str, Any]

_RANGES: Final = {
    "ctx_len": (16, 10_000_000),
    "n_parallel": (1, 256),
    "ngl": (0, 10_000),
    "cpu_threads": (1, 1_024),
}
_FLAGS: Final = ("cont_batching", "embedding")
_CHOICES: Final = {
    "cache_type": ("f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl", "f32"),
    "kv_cache_dtype": ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"),
}
_TEMPLATE: Final = "prompt_template"
_PARTS: Final = ("pre_prompt", "system_prompt", "user_prompt", "ai_prompt")
_TEXTS: Final = (_TEMPLATE, *_PARTS)
_MAX_TEXT_BYTES: Final = 100_000

_HONOURED: Final = {
    "llamacpp": frozenset({"ctx_len", "n_parallel", "ngl", "cpu_threads", "cont_batching", "cache_type", *_TEXTS}),
    "vllm": frozenset({"ctx_len", "n_parallel", "cpu_threads", "kv_cache_dtype", *_TEXTS}),
}
"""What each engine makes of them; a model that is elsewhere is not loaded here at all."""

SETTINGS: Final = (*_RANGES, *_FLAGS, *_CHOICES, *_TEXTS)
"""Every setting whose values are known here."""

_FIXED: Final = frozenset(
    {
        *("engine", "model", "base_model", "llama_model_path", "model_path", "mmproj", "files", "folder", "sources"),
        *("source_url", "distributed_executor_backend"),
    }
)
"""What a model is: for its model.json alone."""


def check_settings(values: Mapping[str, Any], param: str, *, all_must_count: bool = False) -> None:
    """Refuse values that no engine could use. Raises InvalidArgumentError, naming the key below `param`.

    all_must_count: refuse what is for model.json alone, too, instead of keeping it without effect.
    """
    for name, value in values.items():
        if value is None:
            continue
        if all_must_count and name in _FIXED:
            message = f"'{name}' belongs to the model and cannot be overridden; change the model's model.json instead."
            raise InvalidArgumentError(message, param=f"{param}.{name}")
        wanted = _wanted(name)
        is_kept = not all_must_count and name in _TEXTS and isinstance(value, str) and _is_text(value)
        if wanted and not is_kept and _read(name, value) is None:
            raise InvalidArgumentError(f"'{name}' must be {wanted}.", param=f"{param}.{name}", code="invalid_value")


def usable_settings(values: Mapping[str, Any], engine: str) -> JsonObject:
    """The overrides that an engine honours, numbers as numbers; null says nothing."""
    honoured = _HONOURED.get(engine, frozenset())
    read = {name: _read(name, value) for name, value in values.items() if name in honoured}
    return {name: value for name, value in read.items() if value is not None}


def laid_over(*layers: JsonObject) -> JsonObject:
    """Settings of several layers, the last on top; a prompt template and the older three parts replace each other."""
    return {name: value for name, (value, _) in layered_settings(("", layer) for layer in layers).items()}


def layered_settings(layers: Iterable[tuple[str, JsonObject]]) -> dict[str, tuple[Any, str]]:
    """As `laid_over`, each value with the name of the layer that gave it."""
    found: dict[str, tuple[Any, str]] = {}
    for origin, values in layers:
        if _TEMPLATE in values:
            found = _without(found, _PARTS)
        elif values.keys() & set(_PARTS):
            found = _without(found, (_TEMPLATE,))
        found |= {name: (value, origin) for name, value in values.items()}
    return found


def configured_spec(model: models_pb2.Model, *overrides: JsonObject) -> jobs_pb2.ModelSpec:
    """What an engine host is told of a model with overrides of its settings, the last on top."""
    spec = model_spec(model)
    own = orjson.loads(model.settings_json) if model.settings_json else {}
    effective = laid_over(own, *(usable_settings(values, model.engine) for values in overrides))
    if effective != own:
        text = orjson.dumps(effective, option=orjson.OPT_SORT_KEYS)
        spec.settings_json = text.decode()
        spec.configuration = hashlib.sha256(text).hexdigest()[:16]
    return spec


def _without(found: dict[str, tuple[Any, str]], names: Iterable[str]) -> dict[str, tuple[Any, str]]:
    gone = set(names)
    return {name: value for name, value in found.items() if name not in gone}


def _wanted(name: str) -> str:
    """What a setting must be, in words; "" for one that nobody knows."""
    if name in _RANGES:
        lowest, highest = _RANGES[name]
        return f"a whole number from {lowest} to {highest}"
    if name in _FLAGS:
        return "true or false"
    if name in _CHOICES:
        return f"one of {', '.join(_CHOICES[name])}"
    if name == _TEMPLATE:
        return "a text with {prompt} in it, and perhaps {system_message}; one in Jinja is for the model's model.json"
    return f"a text of at most {_MAX_TEXT_BYTES} bytes" if name in _TEXTS else ""


def _read(name: str, value: Any) -> Any:
    """A setting's value as engines are told it; None for what they cannot be told. Jan wrote numbers as text, too."""
    if name in _RANGES:
        lowest, highest = _RANGES[name]
        number = _whole(value)
        return number if number is not None and lowest <= number <= highest else None
    if name in _FLAGS:
        return _flag(value)
    if name in _CHOICES:
        return value if isinstance(value, str) and value in _CHOICES[name] else None
    return value if name in _TEXTS and isinstance(value, str) and _is_usable_text(name, value) else None


def _is_usable_text(name: str, text: str) -> bool:
    return _is_text(text) and (name != _TEMPLATE or ("{prompt}" in text and "{%" not in text and "{{" not in text))


def _is_text(text: str) -> bool:
    return "\0" not in text and len(text.encode("utf-8", "replace")) <= _MAX_TEXT_BYTES


def _flag(value: Any) -> bool | None:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value if isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and len(value) < 20 and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
