"""What is unusual in assistants/ and with models."""

from collections.abc import Iterator
from pathlib import Path

from jan.ids import AssistantId, ModelId
from storage_service.store import jsonfile, layout, plain, secrets
from storage_service.store.assistants import description_of
from storage_service.store.forms import fields
from storage_service.store.forms import models as form
from storage_service.store.models import Description, Models
from storage_service.store.records import JsonObject
from storage_service.store.report.findings import Finding, Kind
from storage_service.store.report.walk import entries, is_foreign, some

_ENGINES = frozenset({"llamacpp", "vllm", "openai"})
_WEIGHTS = (".gguf", ".safetensors")
_HOMES = ("models", "llamacpp/models", "mlx/models")
_MAX_DEPTH = 4


def assistants(where: layout.Layout) -> Iterator[Finding]:
    """Everything directly below assistants/."""
    for entry in entries(where.assistants):
        place = f"assistants/{entry.name}"
        if entry.is_symlink():
            yield Finding(place, Kind.LINK)
        elif not entry.is_dir():
            yield Finding(place, Kind.STRAY_FILE)
        elif is_foreign(AssistantId, entry.name):
            yield Finding(place, Kind.FOREIGN_NAME)
        else:
            yield from _assistant(Path(entry.path), place)


def _assistant(folder: Path, place: str) -> Iterator[Finding]:
    path = description_of(folder)
    place_of_file = f"{place}/{path.name}"
    raw = jsonfile.read(path)
    if path.is_symlink():
        yield Finding(place_of_file, Kind.LINK)
    elif not path.exists():
        yield Finding(place, Kind.GHOST_FOLDER)
    elif raw is None:
        yield Finding(place_of_file, Kind.INVALID_DESCRIPTION)
    elif raw.get("id", folder.name) != folder.name:
        yield Finding(place_of_file, Kind.ID_MISMATCH, f"id {str(raw['id'])[:128]!r}")
    yield from _keys(raw, place_of_file)
    threads = [entry.name for entry in entries(folder / "threads") if not entry.name.startswith(".")]
    if threads:
        yield Finding(f"{place}/threads", Kind.THREADS_IN_ASSISTANT, some(threads))


def _keys(raw: JsonObject | None, place: str) -> Iterator[Finding]:
    names = sorted(set(secrets.names(raw)))
    if names:
        yield Finding(place, Kind.SECRET, some([name[:64] for name in names]))


def models(where: layout.Layout) -> Iterator[Finding]:
    """Every description, and what lies about without one."""
    served: dict[str, str] = {}
    described: set[str] = set()
    dropped: set[str] = set()
    for description in Models(where).descriptions():
        raw = description.read()
        place = f"{description.folder}/{description.path.name}"
        if description.path.is_symlink() and (description.is_sure or description.folder not in described):
            yield Finding(place, Kind.LINK)
        elif raw is None and description.is_sure:
            yield Finding(place, Kind.INVALID_DESCRIPTION)
        if description.weights is not None:
            dropped |= {f"{description.folder}/{name}" for name in description.weights.files}
        elif description.is_sure or raw is not None:
            described.add(description.folder)
        if raw is None:
            continue
        yield from _keys(raw, place)
        if is_foreign(ModelId, description.id):
            yield Finding(place, Kind.FOREIGN_NAME)
        elif description.id in served:
            yield Finding(place, Kind.SHADOWED, f"by {served[description.id]}")
        else:
            served[description.id] = place
            if description.weights is not None:
                yield Finding(place, Kind.DROPPED_WEIGHTS)
            yield from _model(where, description, raw, place)
    for home in _HOMES:
        yield from _lying_about(where.root / home, home, described, dropped)


def _model(where: layout.Layout, description: Description, raw: JsonObject, place: str) -> Iterator[Finding]:
    own_id = fields.text(raw, "id")
    if own_id and own_id != description.id and description.path.name == layout.MODEL_FILE:
        yield Finding(place, Kind.ID_MISMATCH, f"id {own_id[:128]!r}")
    model = form.from_json(ModelId(description.id), raw, 0, description.folder, description.present)
    if description.is_guest and form.is_remote(model):
        yield Finding(place, Kind.REMOTE_IN_ASSISTANT, model.source_url[:200])
        return
    if model.engine not in _ENGINES:
        yield Finding(place, Kind.OTHER_ENGINE, model.engine)
    if model.format == "api":
        return
    if any("<" in fields.text(source, "url") for source in fields.objects(raw, "sources")):
        yield Finding(place, Kind.PLACEHOLDER)
    outside = [name for name in form.weight_names(raw) if not form.stays_inside(name)]
    if outside:
        yield Finding(place, Kind.PATH_OUTSIDE, some([name[:200] for name in outside]))
    folder = where.root / description.folder
    missing = [name for name in model.files if not (folder / name).is_file()]
    if missing or not model.files:
        yield Finding(place, Kind.MISSING_FILE, some(missing) or "no weights are named")


def _lying_about(folder: Path, place: str, described: set[str], dropped: set[str], depth: int = 0) -> Iterator[Finding]:
    """Links, and weights that nobody describes."""
    found = entries(folder)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            inner = f"{place}/{entry.name}"
            if depth < _MAX_DEPTH and place not in described:
                yield from _lying_about(Path(entry.path), inner, described, dropped, depth + 1)
        elif entry.is_symlink() and plain.is_folder(entry):
            yield Finding(f"{place}/{entry.name}", Kind.LINK)
    weights = [entry.name for entry in found if entry.name.endswith(_WEIGHTS) and not plain.is_folder(entry)]
    weights = [name for name in weights if f"{place}/{name}" not in dropped]
    if weights and place not in described:
        yield Finding(place, Kind.NO_DESCRIPTION, some(weights))
