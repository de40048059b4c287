"""What an archive is, and which of its files belong together. Pure: only names are looked at.

A Jan folder may lie anywhere in an archive (`jan/`, `Jan/data/`), and an archive may hold several of them; each is a
`Root`. Threads may lie anywhere below `threads/`, as people sort them, or be alone in the archive.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from jan.errors import InvalidArgumentError
from storage_service.store import flat, layout
from storage_service.store.archive import Entry
from storage_service.store.archive_directory import TOO_LARGE

_THREAD_FILES = frozenset({layout.THREAD_FILE, layout.MESSAGES_FILE})
# Each costs work of its own; people have a few.
MOST_ROOTS = 1_000
# Folders of a thread's own: no threads in there.
_CLOSED = frozenset({layout.FILES_FOLDER, "memory"})
_DESCRIBES_MODEL = frozenset({layout.MODEL_FILE, "model.yml", "model.yaml"})
_MODEL_HOMES = (("models",), ("llamacpp", "models"), ("mlx", "models"))
_CONVERSATIONS = "conversations"

_LEFT_BEHIND = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_NOT_TAKEN = {
    "logs": "Logs are not taken over.",
    "janroot-export.json": "It only describes the archive.",
    "janroot-backup.json": "It only describes the archive.",
    "cortex.db": "A database of cortex; it may hold keys, and its objects lie beside it as files.",
    "cortex.db-shm": "A database of cortex.",
    "cortex.db-wal": "A database of cortex; it may hold keys.",
}
_SERVER = ".server"
_SERVERS_OWN = "Another server's own: its trash, quarantine and index. Only restoring a backup brings those back."
# What lies in these is the user's, whatever its name.
_COLLECTIONS = frozenset({"threads", "assistants", "models", "files"})


class Kind(StrEnum):
    """What an archive is, under the name that a report gives it."""

    JANROOT = "janroot"
    THREAD = "thread"
    CONVERSATIONS = "conversations"


@dataclass(slots=True)
class Folder:
    """A folder that is one object: its place in the archive, and its files by their names below it."""

    path: str
    files: dict[str, Entry] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its own name; empty for the archive itself."""
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class Root:
    """One Jan folder's objects; `threads` are folders, `flat_threads` the files of 2023 by the id they name.

    models: by their place below the janroot, such as `models/vendor/name`. configuration: what may hold keys.
    strays: what is none of ours, with the reason. left_out: what is not even kept, with the reason.
    """

    threads: dict[str, Folder] = field(default_factory=dict)
    flat_threads: list[tuple[str, Entry]] = field(default_factory=list)
    assistants: dict[str, Folder] = field(default_factory=dict)
    models: dict[str, Folder] = field(default_factory=dict)
    uploads: dict[str, Entry] = field(default_factory=dict)
    vector_stores: dict[str, Folder] = field(default_factory=dict)
    completions: dict[str, Entry] = field(default_factory=dict)
    batches: dict[str, Entry] = field(default_factory=dict)
    configuration: list[Entry] = field(default_factory=list)
    strays: list[tuple[Entry, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Contents:
    """An archive that is understood: Jan folders, or another product's conversations."""

    kind: Kind
    roots: tuple[Root, ...] = ()
    conversations: tuple[Entry, ...] = ()
    others: tuple[Entry, ...] = ()


def understand(entries: Iterable[Entry]) -> Contents | None:
    """Sort an archive's files; None when it is nothing that can be imported.

    Raises InvalidArgumentError: it holds more Jan folders than anybody has.
    """
    junk = Root()
    servers: set[str] = set()
    files: list[tuple[list[str], Entry]] = []
    folders: dict[str, list[str]] = {}  # their names are shared by all files in them: half of the memory
    for entry in entries:
        folder, separator, name = entry.name.rpartition("/")
        above = folders.setdefault(folder, folder.split("/")) if separator else []
        parts = [*above, name]
        server = _server_around(parts)
        if server is not None:
            servers.add(server)
        elif "__MACOSX" in parts or parts[-1] in _LEFT_BEHIND or parts[-1].startswith("._"):
            junk.left_out.append((entry.name, "Left behind by an operating system."))
        else:
            files.append((parts, entry))
    junk.left_out += [(server, _SERVERS_OWN) for server in sorted(servers)]
    bases = _bases(files)
    if len(bases) > MOST_ROOTS:
        raise InvalidArgumentError(f"The archive holds more than {MOST_ROOTS} Jan folders.", code=TOO_LARGE)
    if bases:
        return Contents(Kind.JANROOT, (*_janroots(files, bases), junk))
    if any(parts[-1] in _THREAD_FILES for parts, _ in files):
        return Contents(Kind.THREAD, (_lone_threads(files), junk))
    conversations = tuple(entry for parts, entry in files if _is_conversations(parts[-1]))
    if conversations:
        # Which product's they are is for those to say who read them.
        return Contents(Kind.CONVERSATIONS, conversations=conversations, others=tuple(entry for _, entry in files))
    if any(flat.id_of(parts[-1]) for parts, _ in files):
        return Contents(Kind.THREAD, (_lone_threads(files), junk))
    return None


def _server_around(parts: list[str]) -> str | None:
    """The folder of a server's own that a file lies in; None when it lies in none."""
    if _SERVER not in parts[:-1]:
        return None
    place = parts.index(_SERVER)
    return None if _COLLECTIONS.intersection(parts[:place]) else "/".join(parts[: place + 1])


def _is_conversations(name: str) -> bool:
    return name.startswith(_CONVERSATIONS) and name.endswith(".json")


def _bases(files: list[tuple[list[str], Entry]]) -> list[tuple[str, ...]]:
    """Where Jan folders begin: the shortest paths in front of something that only lies in one."""
    found = {base for parts, _ in files if (base := _base(parts)) is not None}
    return sorted(base for base in found if not any(base[:length] in found for length in range(len(base))))


def _base(parts: list[str]) -> tuple[str, ...] | None:
    for place, part in enumerate(parts[:-1]):
        below = parts[place + 1 :]
        if part == "threads" and ((len(below) > 1 and below[-1] in _THREAD_FILES) or _is_flat(below)):
            return tuple(parts[:place])
        if _describes_assistant(parts[place:]):
            return tuple(parts[:place])
        if part == "models" and len(below) > 1 and below[-1] in _DESCRIBES_MODEL:
            inside = place > 0 and parts[place - 1] in ("llamacpp", "mlx")
            return tuple(parts[: place - 1 if inside else place])
    return None


def _describes_assistant(parts: list[str]) -> bool:
    match parts:
        case ["assistants", name, file]:
            return file in (layout.ASSISTANT_FILE, f"{name}.json")
        case _:
            return False


def _is_flat(below: list[str]) -> bool:
    return len(below) == 1 and flat.id_of(below[0]) is not None


def _janroots(files: list[tuple[list[str], Entry]], bases: list[tuple[str, ...]]) -> Iterable[Root]:
    outside = Root()
    pools: dict[tuple[str, ...], list[tuple[list[str], Entry]]] = {base: [] for base in bases}
    deepest = max(map(len, bases))
    for parts, entry in files:
        # No base lies inside another. One look for each level, however many bases there are.
        above = (tuple(parts[:length]) for length in range(min(len(parts), deepest + 1)))
        base = next((folder for folder in above if folder in pools), None)
        if base is None:
            outside.strays.append((entry, "It lies outside of the Jan folder."))
        else:
            pools[base].append((parts, entry))
    for base, pool in pools.items():
        yield _janroot(pool, len(base))
    yield outside


def _janroot(files: list[tuple[list[str], Entry]], depth: int) -> Root:
    root = Root()
    threads, models = [], []
    described = {parts[depth + 1] for parts, _ in files if _describes_assistant(parts[depth:])}
    for parts, entry in files:
        match parts[depth:]:
            case ["threads", _, *_]:
                threads.append((parts, entry))
            case ["assistants", name, "threads", _, *_] if name not in described:
                # Nothing that they could come in with; with an assistant they stay what they are, files of its folder.
                threads.append((parts, entry))
            case ["assistants", name, *below] if below:
                path = "/".join(parts[: depth + 2])
                root.assistants.setdefault(name, Folder(path)).files["/".join(below)] = entry
            case ["models", _, *_] | ["llamacpp" | "mlx", "models", _, *_]:
                models.append((parts, entry))
            case ["files", name]:
                root.uploads[name] = entry
            case ["engines" | "settings", *_]:
                root.configuration.append(entry)
            case ["vector_stores", name, *below] if below:
                path = "/".join(parts[: depth + 2])
                root.vector_stores.setdefault(name, Folder(path)).files["/".join(below)] = entry
            case ["completions", name] if name.endswith(".json"):
                root.completions[name.removesuffix(".json")] = entry
            case ["batches", name]:
                root.batches[name] = entry
            case below:
                _sort_others(root, below, entry)
    _sort_threads(root, threads, depth)
    _sort_models(root, models, depth)
    return root


def _sort_others(root: Root, below: list[str], entry: Entry) -> None:
    if below[0] in _NOT_TAKEN:
        root.left_out.append((entry.name, _NOT_TAKEN[below[0]]))
    elif below[-1].endswith(".json"):
        root.configuration.append(entry)
    else:
        root.strays.append((entry, "It belongs to no thread, assistant, model or upload."))


def _lone_threads(files: list[tuple[list[str], Entry]]) -> Root:
    """Threads without a Jan folder around them, with the uploads that an export puts beside them."""
    root = Root()
    depths = [len(parts) for parts, _ in files if parts[-1] in _THREAD_FILES]
    base = min(depths) - 2 if depths else min(len(parts) for parts, _ in files) - 1
    threads = []
    for parts, entry in files:
        if base >= 0 and len(parts) == base + 2 and parts[base] == layout.FILES_FOLDER:
            root.uploads[parts[-1]] = entry
        else:
            threads.append((parts, entry))
    _sort_threads(root, threads, 0)
    return root


def _sort_threads(root: Root, files: list[tuple[list[str], Entry]], depth: int) -> None:
    """Give each file to the innermost thread around it."""
    for parts, _ in files:
        if parts[-1] in _THREAD_FILES and not _CLOSED.intersection(parts[depth:-1]):
            path = "/".join(parts[:-1])
            root.threads.setdefault(path, Folder(path))
    for parts, entry in files:
        home = next((path for path in _folders_above(parts) if path in root.threads), None)
        thread_id = flat.id_of(parts[-1])
        if home is not None:
            root.threads[home].files[entry.name[len(home) + 1 if home else 0 :]] = entry
        elif thread_id is not None:
            root.flat_threads.append((thread_id, entry))
        else:
            root.strays.append((entry, "It belongs to no thread."))


def _folders_above(parts: list[str]) -> Iterable[str]:
    return ("/".join(parts[:length]) for length in range(len(parts) - 1, -1, -1))


def _sort_models(root: Root, files: list[tuple[list[str], Entry]], depth: int) -> None:
    """Give each file to the folder that describes a model, or else to the one that it lies in."""
    described = {"/".join(parts[:-1]) for parts, _ in files if parts[-1] in _DESCRIBES_MODEL}
    for parts, entry in files:
        above = [path for path in _folders_above(parts) if path in described]
        path = above[-1] if above else "/".join(parts[:-1])
        place = "/".join(path.split("/")[depth:])
        if place.split("/") in [list(home) for home in _MODEL_HOMES]:
            root.strays.append((entry, "It lies beside the models' folders, not in one."))
        else:
            root.models.setdefault(place, Folder(path)).files[entry.name[len(path) + 1 :]] = entry
