"""Requests on a store, each told beforehand with the states that it may lead to, and acknowledged afterwards."""

from __future__ import annotations

import collections
import copy
import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from jan.errors import StorageFullError
from jan.ids import AssistantId, FileId, MessageId, RunId, ThreadId, TrashId
from storage_service.store.clock import wall_clock_ms
from storage_service.store.importing.importer import Importer
from storage_service.store.paging import PageQuery
from storage_service.store.records import (
    Assistant,
    File,
    Message,
    MessageStatus,
    Role,
    Run,
    RunStatus,
    Thread,
)
from tests.chaos import oracle
from tests.chaos.history import Changes, State
from tests.chaos.oracle import Seen

JAN = AssistantId("jan")
BLANK = Thread(id=ThreadId(""), created_ms=0, updated_ms=0)
PAGE = PageQuery(limit=100, descending=False)


class Ledger(Protocol):
    """Who is told what is asked and what is acknowledged; see `History`."""

    def begin(self, changes: Changes) -> None: ...

    def acknowledge(self, changes: Changes) -> None: ...

    def refuse(self, changes: Changes) -> None: ...


class Writer:
    """Works on a store, or on a `Remote` that has its manners; nobody else works on the same threads.

    Threads go by a key, the first word of their titles. `called` begins every name that is made here.
    """

    def __init__(
        self,
        open_store: Callable[[], Any],
        janroot: Path,
        ledger: Ledger,
        *,
        chance: random.Random,
        seen: Seen,
        called: str = "",
    ) -> None:
        self._open_store = open_store
        self._janroot = janroot
        self._ledger = ledger
        self._states = dict(seen.objects)
        self._torn = set(seen.torn)
        self._called = called
        self._made = 0
        self._cleared: set[str] = set()
        self.chance = chance
        self.tries = 2
        self.refusals = 0
        self.store = open_store()
        self.ids = {key: ThreadId(name) for key, name in seen.names.items()}

    def restart(self) -> None:
        """Close the store and open it again."""
        self.store.close()
        self.store = self._open_store()

    def place(self, key: str) -> str:
        """Where a thread is: among the `threads`, or in the `trash`."""
        return str(self._thread(key)["place"])

    def count(self, key: str) -> int:
        """How many messages a thread has."""
        return len(self._thread(key)["messages"])

    def can_be_uncleared(self, key: str) -> bool:
        """Whether a thread was cleared once, and nothing was said in it since."""
        return key in self._cleared and len(self._thread(key)["cleared"]) == 1

    def create(self, key: str, texts: tuple[str, ...] = ()) -> bool:
        """Make a thread, with its first messages at once."""
        said = [self._say(text) for text in texts]
        title = f"{key} new"
        state = {"place": "threads", "title": title, "messages": said, "runs": [], "files": [], "cleared": []}
        messages = [_message(ThreadId(""), item) for item in said]

        def work() -> None:
            self.ids[key] = self.store.create_thread(JAN, replace(BLANK, title=title), messages).id

        return self._do({key: [state]}, work)

    def append(self, key: str, *texts: str) -> bool:
        """Add messages in one request; answers whether there was room."""
        state = self._thread(key)
        self._cleared.discard(key)
        said = [self._say(text) for text in texts]
        state["messages"] += said
        new = [_message(self.ids[key], item) for item in said]
        return self._do({key: [state]}, lambda: self.store.append(self.ids[key], new))

    def edit(self, key: str, number: int, value: str) -> bool:
        """Change a message's metadata, on condition that it is as it was read."""
        state = self._thread(key)
        state["messages"][number][2] = value
        thread_id, message_id = self.ids[key], MessageId(state["messages"][number][0])
        revision = self.store.messages.get(thread_id, message_id).revision

        def change(old: Message) -> Message:
            return replace(old, metadata={"edit": value})

        return self._do({key: [state]}, lambda: self.store.messages.change(thread_id, message_id, change, [revision]))

    def delete_message(self, key: str, number: int) -> None:
        """Take a message out."""
        state = self._thread(key)
        message_id, _, _ = state["messages"].pop(number)
        self._do({key: [state]}, lambda: self.store.messages.delete(self.ids[key], MessageId(message_id)))

    def retitle(self, key: str, words: str) -> bool:
        """Change a thread's own file."""
        state = self._thread(key) | {"title": f"{key} {words}"}
        revision = self.store.threads.get(self.ids[key]).revision

        def change(old: Thread) -> Thread:
            return replace(old, title=state["title"])

        return self._do({key: [state]}, lambda: self.store.threads.change(self.ids[key], change, [revision]))

    def start_run(self, key: str, text: str) -> str:
        """Add a message and accept a run on it, in one request; answers the run's id."""
        said, run_id = self._say(text), self.name("run")
        asked = self._thread(key)
        self._cleared.discard(key)
        asked["messages"].append(said)
        begun = copy.deepcopy(asked)
        begun["runs"].append([run_id, "queued"])
        run = Run(RunId(run_id), self.ids[key], JAN, RunStatus.QUEUED, created_ms=1_704_504_640_000)
        question = _message(self.ids[key], said)
        self._do({key: [asked, begun]}, lambda: self.store.create_run(run, [question]))
        return run_id

    def end_run(self, key: str, run_id: str) -> None:
        """Say that a run has ended."""
        state = self._thread(key)
        state["runs"] = [[name, "completed" if name == run_id else status] for name, status in state["runs"]]
        run = self.store.runs.get(self.ids[key], RunId(run_id))
        ended = replace(run, status=RunStatus.COMPLETED, completed_ms=1_704_504_650_000)
        self._do({key: [state]}, lambda: self.store.runs.update(ended))

    def delete(self, key: str) -> None:
        """Move a thread into the trash."""
        state = self._thread(key) | {"place": "trash"}
        self._do({key: [state]}, lambda: self.store.delete_thread(self.ids[key]))

    def restore(self, key: str) -> None:
        """Bring a deleted thread back."""
        trash_id = self._deletion("thread", key)
        state = self._thread(key) | {"place": "threads"}
        self._do({key: [state]}, lambda: self.store.restore(trash_id))

    def clear(self, key: str) -> None:
        """Move what was said in a thread into the trash: messages first, then runs, then files."""
        state, steps = self._thread(key), []
        entry: dict[str, Any] = {"messages": [], "runs": [], "files": []}
        for name in entry:
            if state[name]:
                entry |= {name: state[name]}
                state |= {name: [], "cleared": oracle.in_order([*self._thread(key)["cleared"], dict(entry)])}
                steps.append(copy.deepcopy(state))
        self._do({key: steps}, lambda: self.store.clear_thread(self.ids[key]), is_for_good=True)
        self._cleared.add(key)

    def unclear(self, key: str) -> None:
        """Bring back what was cleared last; the names are put back in the order of the alphabet."""
        state, steps = self._thread(key), []
        entry = dict(state["cleared"].pop())
        for name in ("files", "messages", "runs"):
            if entry[name]:
                state |= {name: entry[name]}
                entry |= {name: []}
                cleared = [*state["cleared"], dict(entry)] if any(entry.values()) else state["cleared"]
                steps.append(copy.deepcopy(state | {"cleared": cleared}))
        trash_id = self._deletion("messages", key)
        self._do({key: steps}, lambda: self.store.restore(trash_id), is_for_good=True)
        self._cleared.remove(key)

    def clone(self, key: str, copy_key: str) -> None:
        """Copy a thread, without its runs."""
        state = self._thread(key) | {"title": f"{copy_key} copy", "runs": [], "cleared": []}

        def work() -> None:
            self.ids[copy_key] = self.store.clone_thread(self.ids[key], state["title"]).id

        self._do({copy_key: [state]}, work)

    def upload(self, name: str, pieces: int) -> bool:
        """Take a file in, piece by piece; answers whether there was room."""
        data = [bytes([number % 256]) * 5000 for number in range(pieces)]
        digest = hashlib.sha256(b"".join(data)).hexdigest()[:16]
        file_id = FileId(f"file-{hashlib.sha256(name.encode()).hexdigest()[:24]}")

        def work() -> None:
            upload = self.store.files.begin()
            try:
                for piece in data:
                    upload.write(piece)
                self.store.files.finish(upload, File(file_id, name, "batch", 0, 0))
            finally:
                upload.discard()

        self.ids[name] = ThreadId(file_id)
        return self._do({f"upload {name}": [{"bytes": 5000 * pieces, "digest": digest}]}, work)

    def delete_upload(self, name: str) -> None:
        """Remove an upload for good."""
        self._do({f"upload {name}": [None]}, lambda: self.store.files.delete(FileId(self.ids[name])))

    def bring_in(self, archive: str, states: Mapping[str, State]) -> None:
        """Import a zip that lies beside the janroot; each thread comes whole, and some may come before a refusal."""
        folder = self._janroot / ".server/staging/import"

        def work() -> None:
            importer = Importer(self.store, wall_clock_ms, folder, self._janroot.parent / archive, dry_run=False)
            try:
                collections.deque(importer.steps(), maxlen=0)
            finally:
                importer.discard()

        self._do({key: [state, state] for key, state in states.items()}, work)

    def create_assistant(self, name: str, says: str) -> None:
        """Make an assistant."""
        state = {"place": "assistants", "name": says}
        made = Assistant(AssistantId(name), name=says)
        self._do({f"assistant {name}": [state]}, lambda: self.store.assistants.create(made))

    def change_assistant(self, name: str, says: str) -> None:
        """Change an assistant's file."""
        state = {"place": "assistants", "name": says}

        def change(old: Assistant) -> Assistant:
            return replace(old, name=says)

        self._do({f"assistant {name}": [state]}, lambda: self.store.assistants.change(AssistantId(name), change))

    def delete_assistant(self, name: str) -> None:
        """Move an assistant into the trash."""
        state = self._thread(f"assistant {name}") | {"place": "trash"}
        self._do({f"assistant {name}": [state]}, lambda: self.store.assistants.delete(AssistantId(name)))

    def read_everything(self) -> None:
        """The store must tell of each thread what was acknowledged."""
        for key, state in self._states.items():
            if state is not None and state.get("place") == "threads":
                page = self.store.messages.page(self.ids[key], PAGE).items
                said = [[item.id, item.content[0]["text"]["value"], item.metadata.get("edit", "")] for item in page]
                assert said == state["messages"][: len(said)], f"{key} reads {said}"

    def make_room(self, ballast: str) -> None:
        """Remove a file beside the janroot."""
        (self._janroot.parent / ballast).unlink()

    def _do(self, changes: Changes, work: Callable[[], object], *, is_for_good: bool = False) -> bool:
        """One request: the states it leads to are told before, and taken over when it is answered.

        Refused for want of room, it is asked again at once as often as `tries` says, unless a first part of it was
        done that `is_for_good`; answers whether it was done.
        """
        for _ in range(self.tries):
            self._ledger.begin(changes)
            try:
                work()
            except StorageFullError:
                self._ledger.refuse(changes)
                if self._see_what_changed(changes) and is_for_good:
                    return False
                continue
            self._states.update({key: copy.deepcopy(states[-1]) for key, states in changes.items()})
            self._ledger.acknowledge(changes)
            return True
        return False

    def _see_what_changed(self, changes: Changes) -> bool:
        """A request that was refused must have left everything whole, and as it was, or after a first part of it."""
        before = copy.deepcopy(self._states)
        self.refusals += 1
        seen = oracle.read(self._janroot)
        for key, states in changes.items():
            found = seen.objects.get(key)
            assert found in [self._states.get(key), *states[:-1]], f"refused, and yet {key} is {found}"
            self._states[key] = found
        assert not seen.findings, seen.findings
        torn = set(seen.torn) - self._torn
        assert not torn, f"refused, and half a line was left in {torn}"
        return self._states != before

    def _thread(self, key: str) -> dict[str, Any]:
        """A copy of a thread's state, to be changed."""
        state = self._states[key]
        assert state is not None, key
        return copy.deepcopy(state)

    def _deletion(self, kind: str, key: str) -> TrashId:
        """The last deletion of a kind that holds a thread."""
        newest_first = PageQuery(limit=100)
        entries = [entry for entry in self.store.trash.page(newest_first).items if entry.kind == kind]
        return next(TrashId(entry.id) for entry in entries if self.ids[key] in [item.id for item in entry.items])

    def _say(self, text: str) -> list[str]:
        return [self.name("msg"), text, ""]

    def name(self, kind: str) -> str:
        """A name that was not given yet."""
        self._made += 1
        return f"{kind}_{self._called}{self._made:04}"


def _message(thread_id: ThreadId, said: list[str]) -> Message:
    name, text, _ = said
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    return Message(MessageId(name), thread_id, Role.USER, content, status=MessageStatus.COMPLETED)
