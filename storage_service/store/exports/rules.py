"""What of a janroot goes into which archive."""

from dataclasses import dataclass
from enum import Enum

from storage_service.store.exports import blanking
from storage_service.store.exports.folders import Entry

MEBIBYTE = 1024 * 1024

# Not `completions` and `batches`: each names whose key asked for it, and is nobody else's.
_SHARED = frozenset(
    {"threads", "assistants", "models", "files", "vector_stores", "engines", "settings", "llamacpp", "mlx"}
)
SERVER = ".server"
# Of the server's own: what can be brought back. The rest is made anew, or is this process's alone.
KEPT_OF_SERVER = frozenset({"trash", "quarantine", "converted"})
_MODELS = frozenset({"models", "llamacpp", "mlx"})
_SETTINGS = frozenset({"engines", "settings"})
_WEIGHTS = (".gguf", ".ggml", ".safetensors", ".engine", ".onnx", ".pt", ".pth", ".bin", ".npz", ".download")
# Whatever its name: a description of a model has kilobytes.
_WEIGHTS_FROM_BYTES = 64 * MEBIBYTE
# Of folders within folders; more cannot be opened again by every reader.
MAX_LEVELS = 64


class Kind(Enum):
    """The two archives of a whole janroot."""

    EXPORT = "janroot-export"
    """To be given away: without keys, without what only this server needs."""
    BACKUP = "janroot-backup"
    """For oneself: all of it."""


class Reason(Enum):
    """Why something is not in an archive."""

    WEIGHTS = "weights"
    LINK = "link"
    SPECIAL = "no_plain_file"
    NOT_SHARED = "not_shared"
    MAY_HOLD_KEYS = "may_hold_keys"
    UNREADABLE = "unreadable"
    TOO_DEEP = "too_deep"


# What a restore leaves in the janroot when the backup left it out.
STAYS = frozenset({Reason.WEIGHTS, Reason.LINK})


class Verdict(Enum):
    """What becomes of a file or folder that is not left out."""

    TAKE = "as it is"
    BLANK = "without its keys"
    IGNORE = "nothing to speak of"


@dataclass(frozen=True, slots=True)
class Rules:
    """Which archive, and whether models' weights go into it."""

    kind: Kind
    weights: bool = False

    def judge(self, place: str, entry: Entry) -> Verdict | Reason:
        """What becomes of what lies at a place below the janroot."""
        top, *below = place.split("/")
        if top == SERVER and (self.kind is Kind.EXPORT or (below and below[0] not in KEPT_OF_SERVER)):
            return Verdict.IGNORE
        if self.kind is Kind.EXPORT and top not in _SHARED:
            return Reason.NOT_SHARED
        if not entry.is_folder and not entry.is_file:
            return Reason.LINK if entry.is_link else Reason.SPECIAL
        if len(below) >= MAX_LEVELS:
            return Reason.TOO_DEEP
        return Verdict.TAKE if entry.is_folder else self._judge_file(_top_of_its_own(place), entry)

    def _judge_file(self, top: str, entry: Entry) -> Verdict | Reason:
        if top in _MODELS and not self.weights and _is_weights(entry):
            return Reason.WEIGHTS
        if self.kind is Kind.BACKUP:
            return Verdict.TAKE
        if top in _SETTINGS:
            readable = entry.name.endswith(".json") and entry.status.st_size <= MEBIBYTE
            return Verdict.BLANK if readable else Reason.MAY_HOLD_KEYS
        if top in _MODELS and blanking.is_opaque(entry.name):
            return Reason.MAY_HOLD_KEYS
        if top in _MODELS and blanking.is_description(entry.name):
            return Verdict.BLANK if entry.status.st_size <= MEBIBYTE else Reason.MAY_HOLD_KEYS
        return Verdict.TAKE


def _top_of_its_own(place: str) -> str:
    """The first folder below the janroot that a file belongs to, or did before it came to the trash.

    A janroot that a restore replaced may lie in another; deleted models are models.
    """
    segments = place.split("/")
    while segments[:2] == [SERVER, "trash"] and len(segments) > 3 and segments[2].startswith("janroot-"):
        segments = segments[3:]
    if segments[:2] == [SERVER, "trash"] and len(segments) > 3 and segments[2].startswith("model-"):
        return "models"
    return segments[0]


def _is_weights(entry: Entry) -> bool:
    return entry.name.lower().endswith(_WEIGHTS) or entry.status.st_size >= _WEIGHTS_FROM_BYTES
