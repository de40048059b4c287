"""A model as Hugging Face lays it out: a folder of configurations, a tokenizer, and safetensors files.

vLLM reads such a folder as a whole, and has run code out of one although it was told not to (`trust_remote_code`:
CVE-2025-66448, CVE-2026-22807, CVE-2026-27893). So the folder is looked through before vLLM sees it: whatever can hold
a program is a reason to refuse all of it (docs/security.md S23, S24).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jan.errors import FailedPreconditionError, NotFoundError
from jan.formats.config import MAX_CONFIG_BYTES, parse_config
from jan.formats.description import LyingHeaderError, ModelDescription
from jan.formats.file_names import is_tellable
from jan.formats.weights import describe_safetensors_folder

_PROGRAMS: Final = (".py", ".pyc", ".so", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz")
"""Python, machine code, and what Python unpickles."""

_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt", "spiece.model")
_MAX_INDEX_BYTES: Final = 64 * 1024 * 1024
_MAX_FILES: Final = 10_000
_MAX_DEPTH: Final = 5


@dataclass(frozen=True, slots=True)
class HfModel:
    """A folder that was looked through; `template` is its chat template, "" without one."""

    folder: Path
    description: ModelDescription
    template: str = ""


def read_hf_folder(folder: Path, model_id: str) -> HfModel:
    """Look through a model's folder, down to the header of every file of weights.

    Raises NotFoundError: it, its configuration, its tokenizer or its weights are missing. FailedPreconditionError: it
    holds what could be a program, a configuration that asks for one, or a header that cannot be true.
    """
    names = _checked_names(folder, model_id)
    configs = {str(name): _read_json(folder / name, model_id) for name in names if name.name.endswith("config.json")}
    description = describe_safetensors_folder(folder, model_id)
    top = {str(name) for name in names if len(name.parts) == 1}
    _check_index(folder, top, model_id)
    if not top.intersection(_TOKENIZERS):
        raise _missing(model_id, "tokenizer")
    return HfModel(folder, description, _template(folder, top, configs.get("tokenizer_config.json", {})))


def read_lora_folder(folder: Path, model_id: str) -> int:
    """Look through an adapter's folder; its rank. Raises as `read_hf_folder`."""
    names = {str(name) for name in _checked_names(folder, model_id)}
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        if name not in names:
            raise _missing(model_id, name)
    rank = _read_json(folder / "adapter_config.json", model_id).get("r")
    if type(rank) is not int or not 0 < rank <= 512:
        raise _invalid(f"adapter_config.json of model {model_id} has no rank (r) between 1 and 512.")
    return rank


def _checked_names(folder: Path, model_id: str) -> list[Path]:
    """Every file below a folder, relative to it."""
    if not folder.is_dir():
        raise _missing(model_id, "folder")
    names = [path.relative_to(folder) for path in _files(folder, model_id)]
    for name in names:
        if not is_tellable(str(name)):
            raise _invalid(f"Model {model_id} has a file with control characters in its name: {str(name)[:100]!a}.")
        if name.suffix.lower() in _PROGRAMS:
            raise _invalid(f"{name} of model {model_id} can hold a program: only safetensors are loaded. Remove it.")
    return names


def _files(folder: Path, model_id: str, depth: int = 0) -> Iterator[Path]:
    """Every file below a folder, links to files too. A link to a folder is refused: an engine would follow it."""
    for count, path in enumerate(sorted(folder.iterdir())):
        if count >= _MAX_FILES or depth >= _MAX_DEPTH:
            raise _invalid(f"The folder of model {model_id} holds more than a model does.")
        if path.is_dir() and path.is_symlink():
            name = path.name if is_tellable(path.name) else ascii(path.name)
            raise _invalid(f"{name} of model {model_id} is a link to a folder, which no model has inside.")
        if path.is_dir():
            if not path.name.startswith("."):  # .cache of Hugging Face's downloads, .git: vLLM does not look there
                yield from _files(path, model_id, depth + 1)
        else:
            yield path


def _read_json(path: Path, model_id: str, most_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    try:
        if path.stat().st_size > most_bytes:
            raise _invalid(f"{path.name} of model {model_id} is larger than any configuration.")
        return parse_config(path.read_bytes())
    except OSError as error:
        raise _invalid(f"{path.name} of model {model_id} cannot be read: {error.strerror}.") from None
    except LyingHeaderError as reason:
        raise _invalid(f"Model {model_id} is not usable: {reason}.") from None


def _check_index(folder: Path, top: set[str], model_id: str) -> None:
    """Refuse a list of parts that names what is not a file of weights in this very folder."""
    for index in sorted(name for name in top if name.endswith(".safetensors.index.json")):
        parts = _read_json(folder / index, model_id, _MAX_INDEX_BYTES).get("weight_map")
        named = set(map(str, parts.values())) if isinstance(parts, dict) else {"no files"}
        for name in sorted(named - {name for name in top if name.endswith(".safetensors")}):
            raise _invalid(f"{index} of model {model_id} names {name[:100]!r}, which is no file of weights beside it.")


def _template(folder: Path, top: set[str], tokenizer_config: dict[str, Any]) -> str:
    if "chat_template.jinja" in top:
        return (folder / "chat_template.jinja").read_text("utf-8", "replace")[:MAX_CONFIG_BYTES]
    template = tokenizer_config.get("chat_template")
    return template if isinstance(template, str) else json.dumps(template) if template else ""


def _missing(model_id: str, what: str) -> NotFoundError:
    return NotFoundError(f"The {what} of model {model_id} is missing.", code="model_file_missing")


def _invalid(message: str) -> FailedPreconditionError:
    return FailedPreconditionError(message, code="model_file_invalid")
