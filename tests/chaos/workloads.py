"""What the small process does while it is killed: short scripts, in which every kind of write occurs.

Most mistakes of storage need no more than three operations (CrashMonkey, OSDI 2018), so each script is short and is
repeated for every call that it makes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import AssistantId, FileId, ThreadId, TrashId
from storage_service.store.records import Assistant
from tests.chaos.endless import endless
from tests.chaos.history import State
from tests.chaos.writer import Writer
from tests.fixtures.storage import limited_files

FLAT = "jan_1698765432"
IMPORTED = ("i0", "i1")
OLD = "jan_1704504633"


@dataclass(frozen=True, slots=True)
class Workload:
    """A script, and what lies in the janroot before it begins."""

    name: str
    run: Callable[[Writer], None]
    prepare: Callable[[Path], None] = lambda janroot: None


def append_and_edit(writer: Writer) -> None:
    """What people do all day: messages, runs, edits, titles."""
    writer.create("a")
    writer.append("a", "one")
    writer.append("a", "two", "three")
    writer.create("b", ("hello", "there"))
    writer.edit("a", 1, "changed")
    run = writer.start_run("a", "please answer")
    writer.retitle("a", "renamed")
    writer.end_run("a", run)
    writer.append("b", "x" * 20_000)
    writer.delete_message("a", 0)
    writer.append("a", "after")
    writer.edit("b", 2, "changed too")
    writer.retitle("b", "renamed")


def thread_life(writer: Writer) -> None:
    """Threads come, are copied, cleared, deleted and brought back; one of 2023 is given its folder."""
    writer.append("flat", "the first words of this year")
    writer.retitle("old", "renamed")
    writer.clone("old", "copy")
    writer.create("c", ("one", "two"))
    writer.delete("c")
    writer.clear("old")
    writer.restore("c")
    writer.unclear("old")
    writer.append("c", "back again")
    writer.delete("flat")
    writer.delete("copy")
    writer.restore("flat")


def uploads_and_restarts(writer: Writer) -> None:
    """Uploads and assistants, and starts on what a crash left."""
    writer.upload("report.pdf", 3)
    writer.create_assistant("asst_1", "Gardener")
    writer.change_assistant("asst_1", "Cook")
    writer.append("old", "onto a file that ends in half a line")
    writer.restart()
    writer.delete_assistant("asst_1")
    writer.delete_upload("report.pdf")
    writer.upload("photo.png", 1)
    writer.restart()
    writer.append("old", "and again")


def short_writes(writer: Writer) -> None:
    """Files may not grow past a limit: the kernel writes the part that fits, then refuses."""
    writer.tries = 1
    writer.create("a", ("one",))
    with limited_files(4096):
        writer.append("a", "x" * 1500)
        assert not writer.append("a", "x" * 3000)
        writer.append("a", "short")
        assert not writer.upload("long.pdf", 1)
        writer.retitle("a", "renamed")
        assert not writer.edit("a", 1, "x" * 3000)
    writer.append("a", "x" * 3000)
    writer.edit("a", 1, "x" * 3000)
    writer.upload("long.pdf", 1)


def filling(writer: Writer) -> None:
    """Fill the disk until nothing more goes in, read all of it, make room, go on."""
    writer.tries = 1
    for key in ("a", "b"):
        writer.create(key)
    refused = set[str]()
    for number in range(3000):
        kind, done = _one_more(writer, number)
        refused |= set() if done else {kind}
        if refused == {"append", "upload", "edit", "retitle", "create"}:
            break
    assert len(refused) == 5, refused
    writer.read_everything()
    writer.make_room("harness.ballast")
    writer.tries = 1
    for number in range(20):
        kind, done = _one_more(writer, 10_000 + number)
        assert done or kind == "edit", kind  # which takes as much room as the whole file


def _one_more(writer: Writer, number: int) -> tuple[str, bool]:
    key = writer.chance.choice("ab")
    length = writer.chance.choice([20, 700, 4000, 15_000])
    kind = writer.chance.choice(["append"] * 8 + ["upload", "retitle", "create"] + ["edit"] * bool(writer.count(key)))
    match kind:
        case "append":
            return kind, writer.append(key, "x" * length)
        case "upload":
            return kind, writer.upload(f"upload{number}", 1 + length // 5000)
        case "retitle":
            return kind, writer.retitle(key, f"{number} " + "x" * length)
        case "edit":
            return kind, writer.edit(key, writer.chance.randrange(writer.count(key)), f"{number} " + "x" * length)
        case _:
            return kind, writer.create(f"n{number}", ("x" * length,))


def holding(writer: Writer) -> None:
    """Take the janroot, write once, and stay."""
    writer.create(f"by{os.getpid()}")
    while True:
        signal.pause()


def hostile_ids(writer: Writer) -> None:
    """Ask for what lies outside, as a caller could that does not check its ids. Nothing comes of it."""
    writer.create("a", ("one",))
    store, away = writer.store, "../../was-here"
    asks: list[Callable[[], object]] = [
        lambda: store.assistants.create(Assistant(AssistantId("../../was-here"), name="x")),
        lambda: store.threads.change(ThreadId(away), lambda thread: thread),
        lambda: store.append(ThreadId(f"{away}/x"), []),
        lambda: store.delete_thread(ThreadId("../models")),
        lambda: store.files.delete(FileId("../.server/lock")),
        lambda: store.restore(TrashId("../quarantine")),
    ]
    for ask in asks:
        with contextlib.suppress(InvalidArgumentError, NotFoundError):
            ask()
    writer.append("a", "two")


def importing(writer: Writer) -> None:
    """Take in what another Jan folder holds, twice: the second time everything is there."""
    writer.create("a", ("one",))
    states = {key: _imported(key) for key in IMPORTED}
    writer.bring_in("harness.import.zip", states)
    writer.append("a", "two")
    writer.bring_in("harness.import.zip", {})


def _imported(key: str) -> State:
    said = [[f"m{number}", f"{key} says {number}", ""] for number in range(2)]
    return {"place": "threads", "title": f"{key} imported", "messages": said, "runs": [], "files": [], "cleared": []}


def other_folder(janroot: Path) -> None:
    """A zip of a Jan folder with two threads, beside the janroot."""
    with zipfile.ZipFile(janroot.parent / "harness.import.zip", "w") as archive:
        for number, key in enumerate(IMPORTED):
            name = f"jan_{1_704_600_000 + number}"
            thread = {"id": name, "title": f"{key} imported", "created": 1_704_600_000_000 + number}
            said = [_jan_message(name, f"m{message}", f"{key} says {message}") for message in range(2)]
            archive.writestr(f"jan/threads/{name}/thread.json", json.dumps(thread))
            archive.writestr(f"jan/threads/{name}/messages.jsonl", "".join(f"{json.dumps(line)}\n" for line in said))


def jan_folder(janroot: Path) -> None:
    """A thread that desktop Jan made, with a document in it, and one of the draft of 2023 in its flat file."""
    folder = janroot / "threads" / OLD
    (folder / "files").mkdir(parents=True)
    said = [_jan_message(OLD, "m1", "old words"), _jan_message(OLD, "m2", "old answer")]
    (folder / "thread.json").write_text(json.dumps({"id": OLD, "title": "old thread", "created": 1_704_504_633_000}))
    (folder / "messages.jsonl").write_text("".join(f"{json.dumps(message)}\n" for message in said))
    (folder / "runs.jsonl").write_text(json.dumps(_RUN) + "\n")
    (folder / "files" / "m1.pdf").write_bytes(b"%PDF-1.7 " + bytes(3000))
    flat = {"id": FLAT, "title": "flat thread", "messages": [_jan_message(FLAT, "m1", "words of 2023")]}
    (janroot / "threads" / f"{FLAT}.json").write_text(json.dumps(flat))


def crashed(janroot: Path) -> None:
    """The same after a crash: half a line, something half made, an upload's description alone."""
    jan_folder(janroot)
    with (janroot / "threads" / OLD / "messages.jsonl").open("a") as file:
        file.write('{"id":"torn","content":[{"type":"te')
    staging = janroot / ".server/staging"
    (staging / "jan_1704504999").mkdir(parents=True)
    (staging / "jan_1704504999" / "thread.json").write_text('{"id":')
    (staging / "upload.1").write_bytes(bytes(5000))
    (janroot / "files").mkdir()
    (janroot / "files" / "file-0123456789abcdef01234567.json").write_text('{"id":"file-0123456789abcdef01234567"}')


def _jan_message(thread_id: str, name: str, text: str) -> dict[str, object]:
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    created = 1_704_504_633_000 if thread_id == OLD else 1_698_765_432_000
    return {"id": name, "thread_id": thread_id, "role": "user", "content": content, "created": created}


_RUN = {
    "id": "run_old",
    "object": "thread.run",
    "thread_id": OLD,
    "assistant_id": "jan",
    "status": "completed",
    "created_at": 1_704_504_634_000,
    "revision": 2,
}

SHORT_WRITES = Workload("short-writes", short_writes)
SCRIPTS = (
    Workload("append-and-edit", append_and_edit),
    Workload("thread-life", thread_life, jan_folder),
    Workload("uploads-and-restarts", uploads_and_restarts, crashed),
    SHORT_WRITES,
    Workload("importing", importing, other_folder),
    Workload("hostile-ids", hostile_ids),
)
ENDLESS = Workload("endless", endless)
FILLING = Workload("filling", filling)
HOLDING = Workload("holding", holding)
BY_NAME = {workload.name: workload for workload in (*SCRIPTS, ENDLESS, FILLING, HOLDING)}
