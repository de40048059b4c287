"""The closed list of what may be found in a janroot: what each means, and what to do about it."""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Severity(StrEnum):
    """How much a finding matters. All but `info` want somebody's hand."""

    INFO = "info"
    """Nothing is missing; good to know."""
    WARNING = "warning"
    """Something is left out or stands in for what is broken; everything else is served."""
    ERROR = "error"
    """A whole object cannot be served."""


class Kind(Enum):
    """A kind of finding: severity, what it means, what to do. The name in lower case is its name for clients."""

    STRAY_FILE = Severity.INFO, "A file that belongs to no object; it is left alone.", "Nothing, or remove it."
    LINK = (
        Severity.WARNING,
        "A symbolic link; links in the janroot are not followed, so what it leads to is not served.",
        "Move what it leads to in its place.",
    )
    NOT_A_FILE = (
        Severity.WARNING,
        "A folder, a named pipe or the like where a file belongs. It is not read, and writing to it is refused.",
        "Move it away.",
    )
    FOREIGN_NAME = (
        Severity.ERROR,
        "The name cannot be an id, so what is in it is not served.",
        "Rename it: letters, digits, '_', '-' and inner dots only.",
    )
    GHOST_FOLDER = (
        Severity.INFO,
        "A folder without the file that would make it an object; Jan left such folders behind.",
        "Nothing, or remove it.",
    )
    UNREADABLE = (Severity.ERROR, "It cannot be read.", "See to its owner, its permissions and the disk.")
    INVALID_JSON = (
        Severity.WARNING,
        "It is empty or not one JSON object. The thread opens with defaults; a change sets the file aside first.",
        "Mend the file, or change the thread's title to have a new one written.",
    )
    INVALID_DESCRIPTION = (
        Severity.ERROR,
        "It is empty, or not one object of JSON or YAML, so this assistant or model is not listed.",
        "Mend the file.",
    )
    ORPHAN = (
        Severity.WARNING,
        "A part of an object that is not there; nobody reads it.",
        "Put back what it belongs to, or remove it.",
    )
    NO_THREAD_FILE = (
        Severity.WARNING,
        "Messages without a thread.json: the thread opens here with defaults, desktop Jan does not show it.",
        "Change the thread's title to have the file written.",
    )
    ID_MISMATCH = (
        Severity.INFO,
        "The file names another id than its folder; here the folder's name counts.",
        "Nothing.",
    )
    UNDEFINED_ASSISTANT = (
        Severity.INFO,
        "Made by an old API of Jan without an assistant; the default one answers.",
        "Nothing.",
    )
    FLAT_THREAD = (
        Severity.INFO,
        "A thread in the form of 2023, read where it is; the first change gives it a folder.",
        "Nothing.",
    )
    SHADOWED = (
        Severity.WARNING,
        "Something else has the same id and is served instead.",
        "Compare both, then rename or remove one.",
    )
    NESTED_THREAD = (
        Severity.INFO,
        "A thread inside another folder; it is served under the name of its own. Desktop Jan does not show it.",
        "Nothing, or move it up into threads/.",
    )
    HIDDEN_THREAD = (
        Severity.WARNING,
        "A thread that lies inside another thread, or has the name of another one, so it is not listed.",
        "Move it up into threads/, under a name of its own.",
    )
    MESSAGES_TWICE = (
        Severity.WARNING,
        "thread.json holds messages, but messages.jsonl lies beside it and alone is read.",
        "Compare both; add what is missing to messages.jsonl.",
    )
    CREATED_LATER = (
        Severity.INFO,
        "The thread claims to be younger than its first message, as Jan 0.6 wrote it; the message's time counts.",
        "Nothing.",
    )
    BAD_LINE = (
        Severity.WARNING,
        "Lines that are no JSON object; they stay in the file and are not shown.",
        "Mend them with an editor, or remove them.",
    )
    TORN_TAIL = (
        Severity.WARNING,
        "The last line is half a record, from a crash. The next one that is added moves it to .server/quarantine/.",
        "Look whether it is worth completing by hand.",
    )
    FOREIGN_LINE = (
        Severity.WARNING,
        "Objects that are not what the file is for, or lack what makes them so; they stay in it and are not shown.",
        "Give a message an id, a role and content; or remove them.",
    )
    GLUED_LINES = (Severity.INFO, "Several messages on one line; each is shown.", "Nothing.")
    DUPLICATE_ID = (
        Severity.WARNING,
        "Several messages have one id; the last of them is shown, in the place of the first.",
        "Give the others an id of their own.",
    )
    MISSING_ID = (Severity.INFO, "Messages without an id that can be used; they are given one.", "Nothing.")
    WRONG_THREAD_ID = (
        Severity.INFO,
        "Messages that name another thread; they belong to the folder they lie in.",
        "Nothing.",
    )
    CRLF = (Severity.INFO, "Lines end as on Windows; they are read all the same.", "Nothing.")
    BYTE_ORDER_MARK = (Severity.INFO, "The file begins with a byte order mark; it is read all the same.", "Nothing.")
    PATH_OUTSIDE = (
        Severity.WARNING,
        "Paths that lead out of the object's own folder; they are not followed.",
        "Move the file into the folder and name it there.",
    )
    MISSING_FILE = (
        Severity.WARNING,
        "Files that are named but not there.",
        "Put them back, if there is a copy.",
    )
    DROPPED_WEIGHTS = (
        Severity.INFO,
        "Weights that no file describes; the model is served under their name.",
        "Nothing; PATCH /v1/models/{id} writes a model.json with another name or settings.",
    )
    NO_DESCRIPTION = (
        Severity.WARNING,
        "Weights that no file describes, so the model is not listed.",
        'Move them into a folder of their own below models/, with a model.json: {"format": "gguf"} is enough.',
    )
    OTHER_ENGINE = (
        Severity.INFO,
        "The model needs an engine that this server does not have; it is listed, but cannot answer.",
        "Nothing, or remove the model.",
    )
    REMOTE_IN_ASSISTANT = (
        Severity.WARNING,
        "A remote model came along with an assistant; it is not served, since it would send conversations elsewhere.",
        "Look where it leads; move its folder into models/ if you trust it.",
    )
    THREADS_IN_ASSISTANT = (
        Severity.WARNING,
        "Threads lie in an assistant's own folder, where they are not served.",
        "Move their folders into threads/.",
    )
    PLACEHOLDER = (
        Severity.INFO,
        "Addresses with placeholders that only Jan's own download could fill in.",
        "Nothing, as long as the files are there.",
    )
    SECRET = (
        Severity.INFO,
        "A key in plain text. The server uses none, and answers only those in an assistant's own fields.",
        "Take it along in no copy that others see.",
    )
    NO_EMBEDDER = (
        Severity.WARNING,
        "The model that is set to embed vector stores is not here, or does not embed: new files are found by words.",
        "Put it there, with the setting `embedding`, or name another one in JANROOT_EMBEDDING_MODEL.",
    )
    EMBEDDER_GONE = (
        Severity.WARNING,
        "The model that its vectors are of is not here or has changed, and no other one embeds: words alone decide.",
        "Put the model back, or have another one embed: the store is embedded anew then.",
    )
    EMBEDDED_ANEW = (
        Severity.INFO,
        "Its vectors are of another model than the one that embeds now, or of that one before it changed.",
        "Nothing: it is embedded anew in the background; `embedding` of GET /v1/vector_stores/{id} tells how far.",
    )
    QUARANTINED = (
        Severity.INFO,
        "Bytes that had to leave a file: torn lines, broken files that were replaced.",
        "Look through them, then remove them.",
    )

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        severity: Severity = self.value[0]
        return severity

    @property
    def meaning(self) -> str:
        """What it means, in a sentence or two."""
        meaning: str = self.value[1]
        return meaning

    @property
    def action(self) -> str:
        """What to do about it."""
        action: str = self.value[2]
        return action


@dataclass(frozen=True, slots=True)
class Finding:
    """One unusual thing. `path` is relative to the janroot, `detail` says where in the file or what exactly."""

    path: str
    kind: Kind
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: how many of each severity, and the findings themselves, the first so many of them."""

    findings: tuple[Finding, ...]
    counts: dict[Severity, int]

    @property
    def total(self) -> int:
        """How many there are, told or not."""
        return sum(self.counts.values())
