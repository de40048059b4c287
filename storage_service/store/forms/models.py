"""model.json in all its generations: the drafts of 2023 to Jan 0.5, and our own, which is Jan's last.

One map of settings and one of parameters come out, in real numbers, whatever a generation called or wrote them.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from jan.formats.vision import blinded, lone_projector, projector_among
from jan.ids import ModelId
from storage_service.store import secrets
from storage_service.store.forms import fields
from storage_service.store.records import JsonObject, Model, ModelSource

# Jan's names for what we run. Its remote engines differ in the address only, so all of them are `openai` here.
_LLAMACPP = frozenset({"", "nitro", "cortex", "llama-cpp", "cortex.llamacpp", "llamacpp"})
_OWN = frozenset({"vllm", "openai"})

# What is said when a model is loaded; the drafts and cortex mixed it with what is said with each request.
LOAD_KEYS = frozenset(
    {
        *("ctx_len", "ngl", "embedding", "n_parallel", "cpu_threads", "cont_batching", "vision_model", "text_model"),
        *("prompt_template", "pre_prompt", "system_prompt", "user_prompt", "ai_prompt"),
        *("model_path", "llama_model_path", "mmproj"),
    }
)
REQUEST_KEYS = frozenset(
    {
        *("temperature", "max_temperature", "token_limit", "top_k", "top_p", "stream", "max_tokens", "stop", "seed"),
        *("frequency_penalty", "presence_penalty", "min_p", "typ_p", "tfs_z", "repeat_penalty", "repeat_last_n"),
        *("mirostat", "mirostat_tau", "mirostat_eta", "dynatemp_range", "dynatemp_exponent", "n_probs", "min_keep"),
        *("ignore_eos", "penalize_nl"),
    }
)
_TEXTS = frozenset({"prompt_template", "pre_prompt", "system_prompt", "user_prompt", "ai_prompt", "stop"})
_WEIGHTS = (".gguf", ".safetensors")
_FETCHABLE = ("http://", "https://", "hf://")
_PATHS = ("llama_model_path", "model_path", "mmproj")


def from_json(
    model_id: ModelId, raw: JsonObject, made_ms: int, folder: str = "", present: Collection[str] = ()
) -> Model:
    """A model from its file, without keys. No field is required; `made_ms` stands in for a missing creation time.

    The folder's path below `models/` is the id: it is the one name that cannot be given twice. `folder` is where the
    weights lie, relative to the janroot, and `present` the names in it.
    """
    metadata = fields.obj(raw, "metadata")
    settings, parameters = maps(raw)
    engine = fields.text(raw, "engine") or fields.text(metadata, "engine")
    model_format = fields.text(raw, "format") or ("api" if engine == "api" else "gguf")
    downloads = () if model_format == "api" else tuple(_downloads(raw))
    files = () if model_format == "api" else _files(model_id, raw, folder, present)
    return Model(
        id=model_id,
        created_ms=fields.time_ms(raw, "created", "created_at") or made_ms,
        owned_by=fields.text(raw, "owned_by") or fields.text(metadata, "author") or "you",
        name=fields.text(raw, "name") or model_id,
        description=fields.text(raw, "description"),
        version=fields.text(raw, "version"),
        engine=_engine(engine, model_format),
        format=model_format,
        settings=_shown(settings),
        parameters=_shown(parameters),
        metadata=_shown(metadata),
        files=files,
        source_url=_source_url(raw),
        folder=folder or f"models/{model_id}",
        sources=downloads,
        missing=_missing(model_id, downloads, present),
    )


@dataclass(frozen=True, slots=True)
class ModelChange:
    """What is to change of a model; None and empty maps leave it. A None in a map removes that key."""

    name: str | None = None
    description: str | None = None
    version: str | None = None
    settings: JsonObject = field(default_factory=dict)
    parameters: JsonObject = field(default_factory=dict)
    metadata: JsonObject = field(default_factory=dict)


def change(raw: JsonObject, wanted: ModelChange) -> JsonObject:
    """The file's JSON after a change, in the generation that it has; keys that nobody knows stay.

    The drafts had one map for settings and parameters: it is parted when one of them changes, since a map of settings
    that holds anything counts alone.
    """
    texts = {"name": wanted.name, "description": wanted.description, "version": wanted.version}
    changed = raw | fields.without_none(texts)
    if wanted.settings or wanted.parameters:
        names, settings, parameters = _own_maps(raw)
        changed |= {names[0]: _merged(settings, wanted.settings), names[1]: _merged(parameters, wanted.parameters)}
    if wanted.metadata:
        changed["metadata"] = _merged(fields.obj(raw, "metadata"), wanted.metadata)
    return changed


def is_remote(model: Model) -> bool:
    """Whether another server answers for it."""
    return model.format == "api" or model.engine == "openai"


def is_model(raw: JsonObject) -> bool:
    """Whether a file that is not called model.json describes a model: one of the draft, which named it as it liked."""
    return "source_url" in raw or raw.get("object") == "model" or "engine" in fields.obj(raw, "metadata")


def maps(raw: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Settings and parameters. A developers' page renamed them, and the first draft had one map for both."""
    settings = fields.optional_obj(raw, "settings") or fields.obj(raw, "engine_parameters")
    parameters = fields.optional_obj(raw, "parameters") or fields.obj(raw, "model_parameters")
    if not settings:
        settings = {key: value for key, value in parameters.items() if key in LOAD_KEYS}
        parameters = {key: value for key, value in parameters.items() if key not in LOAD_KEYS}
    return _plain(settings), _plain(parameters)


def _own_maps(raw: JsonObject) -> tuple[tuple[str, str], JsonObject, JsonObject]:
    """The names of both maps in a file, and the maps as they stand there; see `maps`."""
    names = (
        "settings" if fields.optional_obj(raw, "settings") else "engine_parameters",
        "parameters" if fields.optional_obj(raw, "parameters") else "model_parameters",
    )
    settings, parameters = fields.obj(raw, names[0]), fields.obj(raw, names[1])
    if not settings:
        settings = {key: value for key, value in parameters.items() if key in LOAD_KEYS}
        parameters = {key: value for key, value in parameters.items() if key not in LOAD_KEYS}
    renamed = [name if raw.get(name) else usual for name, usual in zip(names, ("settings", "parameters"), strict=True)]
    return (renamed[0], renamed[1]), settings, parameters


def _merged(values: JsonObject, changes: JsonObject) -> JsonObject:
    gone = {key for key, value in changes.items() if value is None}
    return {key: value for key, value in (values | changes).items() if key not in gone}


def weight_names(raw: JsonObject) -> list[str]:
    """Every file of weights that a model's file names, as it names them: `filename`s first, then paths."""
    settings, _ = maps(raw)
    named = [fields.text(source, "filename") for source in _sources(raw)]
    named += [fields.text(settings, key) for key in _PATHS]
    if not any(named):
        named = [url for url in [fields.text(raw, "source_url"), *_urls(raw)] if url.endswith(".gguf")]
        named = [url.rpartition("/")[2] if "://" in url else url for url in named]
    return list(dict.fromkeys(name for name in named if name not in ("", "N/A")))


def stays_inside(name: str) -> bool:
    """Whether a name stays in the model's own folder, on any system."""
    path = PurePosixPath(name)
    return "\\" not in name and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _files(model_id: ModelId, raw: JsonObject, folder: str, present: Collection[str]) -> tuple[str, ...]:
    """The weights, in the file's order. A path that leads elsewhere counts by its last part, if that is here.

    Jan's own server took the first .gguf of the folder, and downloaded into a file without ending named as the model.
    """
    names = [name.removeprefix(f"{folder}/") for name in weight_names(raw)]
    names = [name if stays_inside(name) else _last_part(name) for name in names]
    inside = [name for name in dict.fromkeys(names) if stays_inside(name) and ("/" in name or name in present)]
    if inside:
        return (*inside, *_projector_beside(raw, inside, present))
    usual = [name for name in sorted(present) if name.endswith(".gguf") and "mmproj" not in name]
    usual += [name for name in (model_id.rpartition("/")[2],) if name in present]
    found = tuple(usual[:1])
    return (*found, *_projector_beside(raw, found, present)) or tuple(filter(stays_inside, dict.fromkeys(names)))


def _projector_beside(raw: JsonObject, files: Collection[str], present: Collection[str]) -> tuple[str, ...]:
    """What makes a GGUF model see, where it lies in the folder and nothing names it."""
    settings, _ = maps(raw)
    is_gguf = bool(files) and all(name.lower().endswith(".gguf") for name in files)
    if not is_gguf or settings.get("base_model") or projector_among(files, settings):
        return ()
    found = "" if blinded(settings) else lone_projector(present)
    return (found,) if found else ()


def _shown(values: JsonObject) -> JsonObject:
    """Values that everybody may see: keys blanked, and of paths that lead elsewhere the last part.

    Engines are told these, too, so what they read is never taken for a key: a template may look like one.
    """
    free = {key: value for key, value in values.items() if key not in LOAD_KEYS | REQUEST_KEYS}
    secrets.blank(free)
    paths = {key: fields.text(values, key) for key in _PATHS}
    return values | free | {key: _last_part(path) for key, path in paths.items() if not stays_inside(path)}


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _engine(engine: str, model_format: str) -> str:
    if model_format == "api":
        return "openai"
    if engine in _OWN:
        return engine
    if engine in _LLAMACPP:
        return "vllm" if model_format == "safetensors" and not engine else "llamacpp"
    return engine


def _sources(raw: JsonObject) -> list[JsonObject]:
    """Where the files came from; one vision model was shipped with the key `source`."""
    return fields.objects(raw, "sources") or fields.objects(raw, "source")


def _urls(raw: JsonObject) -> list[str]:
    """The addresses; models that a user brought have the words "N/A" or a path instead, some without an object."""
    sources = raw.get("sources")
    plain = [item for item in sources if isinstance(item, str)] if isinstance(sources, list) else []
    return [url for url in [fields.text(item, "url") for item in _sources(raw)] + plain if url not in ("", "N/A")]


def _downloads(raw: JsonObject) -> Iterator[ModelSource]:
    """The files that can be fetched into the model's own folder; one without a name is called as its URL ends."""
    named = [(fields.text(source, "filename"), fields.text(source, "url")) for source in _sources(raw)]
    for name, url in named or [("", fields.text(raw, "source_url"))]:
        if url.startswith(_FETCHABLE):
            filename = name or url.partition("?")[0].rpartition("/")[2]
            if "/" not in filename and stays_inside(filename):
                yield ModelSource(filename, url)


def _missing(model_id: ModelId, downloads: Collection[ModelSource], present: Collection[str]) -> tuple[str, ...]:
    """The files still to be downloaded; none where weights lie under other names, which users and an old Jan gave."""
    missing = tuple(source.filename for source in downloads if source.filename not in present)
    others = [name for name in present if name.endswith(_WEIGHTS) or name == model_id.rpartition("/")[2]]
    return () if others and len(missing) == len(downloads) else missing


def _source_url(raw: JsonObject) -> str:
    return next(iter(_urls(raw)), fields.text(raw, "source_url"))


def _plain(values: JsonObject) -> JsonObject:
    """Numbers and booleans that one generation wrote as text, as what they are."""
    return {key: value if key in _TEXTS else _value(key, value) for key, value in values.items()}


def _value(key: str, value: Any) -> Any:
    if not isinstance(value, str) or key not in LOAD_KEYS | REQUEST_KEYS:
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    number = fields.number({key: value}, key)
    return value if number is None else int(number) if number.is_integer() and "." not in value else number
