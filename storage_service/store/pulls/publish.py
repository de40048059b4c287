"""The last step of a download: looked at once more, then a model."""

import os
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from jan.errors import ConflictError, FailedPreconditionError
from jan.formats.config import MAX_CONFIG_BYTES, parse_config
from jan.formats.description import LyingHeaderError, usual_ctx_len
from jan.formats.gguf import GgufHeader, describe_gguf, read_gguf
from jan.formats.gguf_adapter import is_adapter
from jan.formats.safetensors import read_safetensors
from jan.ids import ModelId
from storage_service.store import atomic, jsonfile, layout
from storage_service.store.adapter_bases import ADAPTER_CONFIG, find_base, told_by_config, told_by_gguf
from storage_service.store.layout import Layout
from storage_service.store.pulls.names import BESIDE_WEIGHTS, MAX_BESIDE_BYTES
from storage_service.store.pulls.record import Pull
from storage_service.store.records import JsonObject, Model


def check_place(where: Layout, model_id: ModelId, *, described: bool) -> None:
    """See that a model can be put under its id. described: it has its model.json there already.

    Raises ConflictError: something else is there, or would lie inside of it.
    """
    folder = where.model(model_id)
    if described:
        return
    if os.path.lexists(folder):
        raise ConflictError(
            f"There is a model, or another folder, with the id '{model_id}'; send a free 'id', or delete it first.",
            code="model_exists",
            param="id",
        )
    above = [where.models / part for part in accumulate(model_id.split("/")[:-1], os.path.join)]
    if any((step / layout.MODEL_FILE).exists() for step in above):
        raise ConflictError(f"'{model_id}' would lie inside of another model.", code="model_exists", param="id")


def check_contents(folder: Path, pull: Pull) -> GgufHeader | None:
    """Read the header of every file; answers the first GGUF's.

    Raises FailedPreconditionError: a file is not what a model may be made of.
    """
    first: GgufHeader | None = None
    for file in pull.files:
        path = folder / file.name
        if pull.model_json is None and not path.exists():
            continue  # looked at and moved into its place before a crash
        with path.open("rb") as data:
            try:
                header = _check_content(file.name, data, path.stat().st_size)
            except LyingHeaderError as reason:
                message = f"{file.name} is not a usable model: {reason}."
                raise FailedPreconditionError(message, code="model_file_invalid") from None
        first = first or header
    return first


def publish(
    where: Layout, staged: Path, pull: Pull, header: GgufHeader | None, models: Callable[[], Iterable[Model]]
) -> None:
    """Make the staged files a model, which appears whole. Durable on return.

    models: those that are here, of which one may be the base of a LoRA adapter that names none.

    Raises ConflictError: its place was taken meanwhile.
    """
    folder = where.model(pull.model_id)
    if pull.model_json is None:
        _move_in(staged, folder, pull)
        return
    check_place(where, pull.model_id, described=False)
    jsonfile.write(staged / layout.MODEL_FILE, completed(pull.model_json, staged, header, models))
    atomic.sync_dir(staged)
    atomic.make_dir(folder.parent)
    atomic.rename(staged, folder)


def completed(
    model: JsonObject, folder: Path, header: GgufHeader | None, models: Callable[[], Iterable[Model]]
) -> JsonObject:
    """The model.json with what only the files tell: their size, and the context that the model was made for.

    Of an adapter not its context, which is its base's, but the base that it belongs to, if that is clear.
    """
    size = sum(path.stat().st_size for path in folder.iterdir() if path.name != layout.MODEL_FILE)
    settings = dict(model.get("settings") or {})
    adapts = is_adapter(header) if header is not None else (folder / ADAPTER_CONFIG).exists()
    if adapts and "base_model" not in settings:
        told = told_by_gguf(header) if header is not None else told_by_config(folder / ADAPTER_CONFIG)
        base = find_base(told, models(), str(model.get("format")))
        settings |= {} if base is None else {"base_model": base.id}
    if header is not None and not adapts:
        settings.setdefault("ctx_len", usual_ctx_len(describe_gguf(header)))
    return model | {"settings": settings, "metadata": (model.get("metadata") or {}) | {"size": size}}


def _move_in(staged: Path, folder: Path, pull: Pull) -> None:
    """Put files beside the model.json that waits for them; the first file, which loaders look for, comes last."""
    for file in reversed(pull.files):
        if not os.path.lexists(folder / file.name):
            atomic.move(staged / file.name, folder / file.name)
    atomic.sync_dir(folder)


def _check_content(name: str, data: BinaryIO, size_bytes: int) -> GgufHeader | None:
    if name.endswith(".gguf"):
        header = read_gguf(data, size_bytes)
        describe_gguf(header)
        return header
    if name.endswith(".safetensors"):
        read_safetensors(data, size_bytes)
    elif size_bytes > MAX_BESIDE_BYTES:
        raise LyingHeaderError("it is larger than any file beside a model's weights")
    elif name.endswith("config.json"):
        if size_bytes > MAX_CONFIG_BYTES:
            raise LyingHeaderError("it is larger than any configuration")
        parse_config(data.read())
    elif not name.endswith(BESIDE_WEIGHTS):
        raise LyingHeaderError("it is of no kind that a model is made of")
    return None
