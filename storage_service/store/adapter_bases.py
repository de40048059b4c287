"""Which model a LoRA adapter belongs to, as its own files tell: matched with the models that are here.

Training tools write where the base came from (`base_model_name_or_path` in PEFT's `adapter_config.json`, and
`general.base_model.*` in GGUF files): a repository, a name, a folder of the trainer's machine. None of them is an id
here, so a model is taken for the base only if it is the only one that could be meant.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jan.formats.config import MAX_CONFIG_BYTES, parse_config
from jan.formats.description import LyingHeaderError
from jan.formats.gguf import GgufHeader, read_gguf
from storage_service.store.records import Model

ADAPTER_CONFIG = "adapter_config.json"

_REPOSITORY = re.compile(r"^https?://[^/]+/([^/?#]+/[^/?#]+)", re.ASCII)
# What quantisers put behind a model's name.
_QUANTIZED = re.compile(r"[-.](gguf|i?q\d\w*|f16|bf16|f32|fp16|mxfp4|\d{5}-of-\d{5})$", re.ASCII)


def told_by_gguf(header: GgufHeader) -> list[str]:
    """What a GGUF adapter says of its base, the most exact first."""
    keys = ("repo_url", "name")
    values = [header.values.get(f"general.base_model.0.{key}") for key in keys]
    return [value for value in values if isinstance(value, str) and value]


def told_by_file(path: Path) -> list[str]:
    """As `told_by_gguf`; nothing when the file cannot be read."""
    try:
        with path.open("rb") as file:
            return told_by_gguf(read_gguf(file, path.stat().st_size))
    except (OSError, LyingHeaderError):
        return []


def told_by_config(path: Path) -> list[str]:
    """What an `adapter_config.json` says of its base; nothing when it cannot be read."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            return []
        told = parse_config(path.read_bytes()).get("base_model_name_or_path")
    except (OSError, LyingHeaderError):
        return []
    return [told] if isinstance(told, str) and told else []


def find_base(told: Sequence[str], models: Iterable[Model], form: str) -> Model | None:
    """The one model of a format that an adapter can mean; None when there is none, or more than one.

    A model of that very repository or id comes before those that are only called so.
    """
    here = [model for model in models if model.format == form and "base_model" not in model.settings]
    for names in (_exact, _loose):
        wanted = {name for text in told for name in names(text)}
        found = [model for model in here if wanted & {name for text in _called(model) for name in names(text)}]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def what_to_do(told: Sequence[str]) -> str:
    """For the owner of an adapter whose base is not clear."""
    said = f" (it was made for {told[0][:200]!r})" if told else ""
    return f"This is a LoRA adapter{said}: say in 'base_model' the id of the model here that it belongs to."


def _called(model: Model) -> list[str]:
    files = [*model.files, *(source.filename for source in model.sources)]
    return [model.id, model.name, *(source.url for source in model.sources), *(Path(name).stem for name in files)]


def _exact(text: str) -> list[str]:
    """A repository or an id with its owner, if a text names one."""
    repository = _REPOSITORY.match(text)
    name = repository[1] if repository else text
    return [name.lower()] if re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII) else []


def _loose(text: str) -> list[str]:
    """A name without its owner or folder, and without what quantisers add."""
    repository = _REPOSITORY.match(text)
    name = (repository[1] if repository else text).rstrip("/").rpartition("/")[2].lower()
    while (plain := _QUANTIZED.sub("", name)) != name:
        name = plain
    return [re.sub(r"[\s_]+", "-", name)] if name else []
