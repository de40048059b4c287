"""Which files of a repository make the model that was asked for. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.pulls.hub import HubFile
from jan.errors import FailedPreconditionError, InvalidArgumentError
from jan.formats.vision import best_projector, is_projector

# What most people should take, the best first: small enough for a laptop, close to the original.
_PREFERRED = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "IQ4_XS", "Q5_K_M", "Q8_0", "F16", "BF16")
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.ASCII)
_BESIDE = re.compile(
    r"(config|generation_config|preprocessor_config|processor_config|tokenizer_config|special_tokens_map|added_tokens|tokenizer|vocab"
    r"|tekken|chat_template|[a-z_.-]+\.safetensors\.index)\.json|merges\.txt|vocab\.txt|[a-z_]+\.model"
    r"|chat_template\.jinja",
    re.ASCII,
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def choose(files: Sequence[HubFile], what: str) -> list[HubFile]:
    """The files for `what`: a file's name, a quantization, `gguf`, `safetensors`, or "" for the usual choice.

    A GGUF model brings the repository's projector for images along, the best one, so that it sees.

    Raises InvalidArgumentError: there are several and none is usual, or none that was meant. FailedPreconditionError:
    the repository has no weights that are loaded here.
    """
    models = _gguf_models(files)
    wanted = what.lower()
    if wanted == "safetensors" or (not wanted and not models):
        return _safetensors(files)
    if not models:
        return _single(files, what)
    named = {name: shards for name, shards in models.items() if _is_meant(name, shards, wanted)}
    if len(named) > 1:
        named = {name: shards for name, shards in named.items() if name.lower().endswith(wanted)} if wanted else named
        named = _usual(named) or named
    if len(named) != 1:
        raise InvalidArgumentError(_choices(models, what), param="model", code="ambiguous_source")
    projector = best_projector([file.name for file in files])
    return [*next(iter(named.values())), *(file for file in files if file.name == projector)]


def _gguf_models(files: Sequence[HubFile]) -> dict[str, list[HubFile]]:
    """The GGUF models by name without shard number and ending; projectors for images are none."""
    models: dict[str, list[HubFile]] = {}
    for file in sorted(files, key=lambda file: file.name):
        if file.name.endswith(".gguf") and not is_projector(file.name):
            shard = _SHARD.fullmatch(file.name)
            models.setdefault(shard["stem"] if shard else file.name.removesuffix(".gguf"), []).append(file)
    return models


def _is_meant(name: str, shards: Sequence[HubFile], wanted: str) -> bool:
    if wanted in ("", "gguf"):
        return True
    exact = (file.name.lower() for file in shards)
    words = re.split(r"[-./]", name.lower())
    return wanted in exact or wanted == name.lower() or wanted in words


def _usual(models: dict[str, list[HubFile]]) -> dict[str, list[HubFile]]:
    for quantization in _PREFERRED:
        for name, shards in models.items():
            if _is_meant(name, shards, quantization.lower()):
                return {name: shards}
    return {}


def _safetensors(files: Sequence[HubFile]) -> list[HubFile]:
    """The weights at the top of the repository with their configuration and tokenizer; nothing that holds programs."""
    top = [file for file in files if "/" not in file.name]
    weights = [file for file in top if file.name.endswith(".safetensors")]
    sharded = [file for file in weights if re.search(r"^model-\d{5}-of-\d{5}\.", file.name)]
    weights = sharded or [file for file in weights if not file.name.startswith("consolidated")] or weights
    if not weights:
        if any(file.name.endswith(_PICKLES) for file in files):
            message = "Its weights are pickles, which can hold programs; only GGUF and safetensors are downloaded."
            raise FailedPreconditionError(message, code="model_file_invalid")
        raise FailedPreconditionError("It has no GGUF or safetensors file.", code="model_file_invalid")
    return [*weights, *(file for file in top if _BESIDE.fullmatch(file.name))]


def _single(files: Sequence[HubFile], what: str) -> list[HubFile]:
    """What was meant in a repository without GGUF files: its safetensors, by the name of one of them."""
    if any(file.name == what and what.endswith(".safetensors") for file in files):
        return _safetensors(files)
    raise InvalidArgumentError(f"The repository has no {what[:64]!r}.", param="model", code="source_file_not_found")


def _choices(models: dict[str, list[HubFile]], what: str) -> str:
    names = ", ".join(list(models)[:20])
    told = f"The repository has no {what[:64]!r}" if what else "The repository has several models"
    return f"{told}; name one of them behind a colon: {names}."
