"""Files of weights, looked at before any engine parses them; refused in words for the model's owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from jan.errors import FailedPreconditionError, NotFoundError
from jan.formats.config import MAX_CONFIG_BYTES, describe_config, parse_config
from jan.formats.description import LyingHeaderError, ModelDescription
from jan.formats.gguf import GgufHeader, describe_gguf, read_gguf
from jan.formats.gguf_adapter import check_adapter, is_adapter
from jan.formats.gguf_projector import vision_bytes_of
from jan.formats.safetensors import read_safetensors

HeaderT = TypeVar("HeaderT")

_PICKLES: Final = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def check_gguf(path: Path) -> None:
    """Read a GGUF file's header to its end and refuse it when its numbers cannot be true.

    Raises FailedPreconditionError: why the file is not a usable model.
    """
    _read(path, read_gguf)


def is_gguf_adapter(path: Path) -> bool:
    """Whether a GGUF file is a LoRA adapter. Raises FailedPreconditionError: it is not usable at all."""
    return is_adapter(_read(path, read_gguf))


def describe_gguf_files(
    paths: Sequence[Path], adapter: Path | None = None, projector: Path | None = None
) -> ModelDescription:
    """A GGUF model in one file or several parts, the first of which describes it, whatever it is called.

    adapter: a LoRA adapter that goes on top of it, and is counted with its weights. projector: what makes tokens of
    images for it (`mmproj`), counted too.

    Raises FailedPreconditionError: a file is not a usable model, or not an adapter that fits it, or no projector.
    """
    parts = [path for path in paths[1:] if path.suffix.lower() == ".gguf"]
    headers = [_read(path, read_gguf) for path in (paths[0], *parts)]
    more_bytes = sum(header.tensor_bytes for header in headers[1:])
    if is_adapter(headers[0]):
        what = "so it is no base of another" if adapter else "which its setting base_model must name the model of"
        raise _invalid(f"{paths[0].name} is a LoRA adapter, {what}.")
    _believed(paths[0], lambda: _check_parts(headers))
    if adapter is not None:
        more_bytes += _fitting(adapter, paths[0], headers).tensor_bytes
    vision_bytes = 0
    if projector is not None:
        header = _read(projector, read_gguf)
        vision_bytes = _believed(projector, lambda: vision_bytes_of(header))
        more_bytes += header.tensor_bytes
    model = _believed(paths[0], lambda: describe_gguf(headers[0], more_bytes))
    return replace(model, sees=projector is not None, vision_bytes=vision_bytes)


def _check_parts(headers: Sequence[GgufHeader]) -> None:
    """An engine opens as many parts as the first one says, whatever was looked at."""
    count = headers[0].values.get("split.count", 1)
    if count in (0, 1):
        return
    if count != len(headers):
        raise LyingHeaderError(
            f"it is one of {count} parts, of which {len(headers)} can be found; "
            "they must be called <name>-00001-of-<number of parts>.gguf, with five digits each"
        )
    for number, header in enumerate(headers):
        if (header.values.get("split.no"), header.values.get("split.count")) != (number, count):
            raise LyingHeaderError(f"what is called its part {number + 1} of {count} says that it is another")


def _fitting(adapter: Path, base: Path, parts: Sequence[GgufHeader]) -> GgufHeader:
    header = _read(adapter, read_gguf)
    if not is_adapter(header):
        raise _invalid(f"{adapter.name} is a whole model and no LoRA adapter: remove its setting base_model.")
    try:
        check_adapter(header, parts)
    except LyingHeaderError as reason:
        raise _invalid(f"{adapter.name} is no LoRA adapter for {base.name}: {reason}.") from None
    return header


def describe_safetensors_folder(folder: Path, model_id: str) -> ModelDescription:
    """A model as Hugging Face lays it out: `config.json` beside its safetensors files. Nothing else is ever loaded.

    Raises NotFoundError: there is no such folder, configuration or file. FailedPreconditionError: one of them cannot
    be true, wants to run code of its own, or the weights are in a format that can hold programs (pickle).
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    weights = [folder / name for name in names if name.endswith(".safetensors")]
    if not weights and any(name.endswith(_PICKLES) for name in names):
        raise _invalid(f"Model {model_id} has pickled weights, which can hold programs; only safetensors are loaded.")
    if not weights or "config.json" not in names:
        missing = "config.json" if weights else "safetensors file"
        raise NotFoundError(f"The {missing} of model {model_id} is missing.", code="model_file_missing")
    configs = {name: _config(folder / name) for name in names if name.endswith("config.json")}
    weights_bytes = sum(_read(path, read_safetensors) for path in weights)
    return _believed(folder / "config.json", lambda: describe_config(configs["config.json"], weights_bytes))


def _config(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise _invalid(f"{path.name} is larger than any configuration.")
    return _believed(path, lambda: parse_config(path.read_bytes()))


def _read(path: Path, reader: Callable[[BinaryIO, int], HeaderT]) -> HeaderT:
    def read() -> HeaderT:
        with path.open("rb") as file:
            return reader(file, path.stat().st_size)

    return _believed(path, read)


def _believed(path: Path, read: Callable[[], HeaderT]) -> HeaderT:
    try:
        return read()
    except LyingHeaderError as reason:
        raise _invalid(f"{path.name} is not a usable model: {reason}.") from None
    except OSError as error:
        raise _invalid(f"{path.name} cannot be read: {error.strerror}.") from None


def _invalid(message: str) -> FailedPreconditionError:
    return FailedPreconditionError(message, code="model_file_invalid")
