"""Which files at a path make a model: a GGUF with all its parts, or a folder of safetensors without its programs."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from jan.formats.vision import is_projector, lone_projector
from storage_service.store.model_imports.paths import ImportPaths, unusable

ADAPTER_CONFIG = "adapter_config.json"

_WEIGHTS = ".safetensors"
# Configurations, tokenizers and templates: data that no loader runs.
_BESIDE = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# sentence-transformers keeps the pooling of an embedding model in folders like 1_Pooling.
_MODULE = re.compile(r"[0-9]_[A-Za-z]+", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", re.ASCII)
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.ASCII | re.IGNORECASE)
_MAX_ENTRIES = 10_000
_MAXSHARDS = 500
_TOLD = 10


@dataclass(frozen=True, slots=True)
class Selection:
    """What a model is to be made of: names in its folder, and where each file lies; the first weights first."""

    stem: str
    files: dict[str, Path]
    is_gguf: bool
    left_out: tuple[str, ...] = field(default=())

    @property
    def is_adapter(self) -> bool:
        """Whether it is a LoRA adapter, which needs a base."""
        return ADAPTER_CONFIG in self.files

    def weights(self) -> list[str]:
        """The names of the files that hold weights."""
        return [name for name in self.files if name.endswith((_WEIGHTS, ".gguf"))]


def select(path: Path, paths: ImportPaths) -> Selection:
    """Look at what lies at an allowed path. Raises FailedPreconditionError: why it makes no model.

    PermissionDeniedError: a link in it leads out of the allowed folders.
    """
    if not os.path.isdir(paths.real(path)):
        return _gguf(path, paths)
    names = _names(path)
    if any(name.endswith(_WEIGHTS) for name in names):
        return _folder(path, names, paths)
    chosen = _gguf(path / _only_gguf(names), paths)
    projector = lone_projector(names)
    if projector and _NAME.fullmatch(projector):
        chosen.files[projector] = paths.plain_file(path / projector)
    return chosen


def _names(folder: Path) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise unusable(f"{folder.name} cannot be read: {error.strerror}.") from None
    if len(names) > _MAX_ENTRIES:
        raise unusable(f"{folder.name} holds more than a model does.")
    return names


def _only_gguf(names: list[str]) -> str:
    """The one GGUF model of a folder; projectors for images are none."""
    found = [name for name in names if name.lower().endswith(".gguf") and not is_projector(name)]
    firsts = [name for name in found if (shard := SHARD.fullmatch(name)) is None or int(shard["number"]) == 1]
    if len(firsts) == 1:
        return firsts[0]
    if found:
        more = ", …" if len(found) > _TOLD else ""
        raise unusable(f"The folder holds several models; name one of its files: {', '.join(found[:_TOLD])}{more}.")
    if any(name.endswith(_PICKLES) for name in names):
        raise unusable("The folder has pickled weights, which can hold programs; only safetensors and GGUF are loaded.")
    raise unusable("The folder holds no GGUF and no safetensors file.")


def _gguf(path: Path, paths: ImportPaths) -> Selection:
    """One file, or all parts of a model of which one is named."""
    name = path.name
    if name.lower().endswith(_WEIGHTS):
        raise unusable("A safetensors model is several files: name their folder.")
    if not name.lower().endswith(".gguf"):
        raise unusable(f"{name[:100]} is no GGUF file, nor a folder of safetensors files.")
    shard = SHARD.fullmatch(name)
    if shard is None:
        stem = usable(name[: -len(".gguf")])
        return Selection(stem, {f"{stem}.gguf": paths.plain_file(path)}, is_gguf=True)
    count = int(shard["count"])
    if not 0 < int(shard["number"]) <= count <= _MAXSHARDS:
        raise unusable(f"{name[:100]} cannot be a part of {count}.")
    stem, files = usable(shard["stem"]), {}
    for number in range(1, count + 1):
        part = path.with_name(f"{shard['stem']}-{number:05}-of-{count:05}{path.suffix}")
        if not os.path.lexists(part):
            raise unusable(f"{part.name} is missing: the model has {count} parts.")
        files[f"{stem}-{number:05}-of-{count:05}.gguf"] = paths.plain_file(part)
    return Selection(stem, files, is_gguf=True)


def _folder(path: Path, names: list[str], paths: ImportPaths) -> Selection:
    """The weights, then what belongs beside them; everything else is left out."""
    weights = [name for name in names if name.endswith(_WEIGHTS) and _NAME.fullmatch(name)]
    beside = [name for name in names if name.endswith(_BESIDE) and _NAME.fullmatch(name) and name != "model.json"]
    modules = [
        f"{folder}/{name}"
        for folder in names
        if _MODULE.fullmatch(folder) and os.path.isdir(paths.real(path / folder))
        for name in _names(path / folder)
        if name.endswith((_WEIGHTS, *_BESIDE)) and _NAME.fullmatch(name)
    ]
    taken = [*weights, *beside, *modules]
    files = {name: paths.plain_file(path / name) for name in taken}
    folders = {name.partition("/")[0] for name in modules}
    left_out = [name for name in names if name not in files and name not in folders]
    return Selection(usable(path.name), files, is_gguf=False, left_out=tuple(left_out))


def usable(text: str) -> str:
    """A name in the letters that ids and files may have."""
    return re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]+", "-", text)).strip(".-")[:128].strip(".-") or "model"
