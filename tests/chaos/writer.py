"""Requests on a store, each told beforehand with the states that it may lead to, and acknowledged afterwards."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from jan.errors import StorageFullError
from jan.ids import AssistantId, FileId, MessageId, RunId, ThreadId
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
from storage_service.store.store import Store
from tests.chaos.history import Changes, State

JAN = AssistantId("jan")
BLANK = Thread(id=ThreadId(""), created_ms=0, updated_ms=0)
PAGE = PageQuery(limit=100, descending=False)


class Ledger(Protocol):
    """Who is told what is asked and what is acknowledged; see `History`."""

    def begin(self, changes: Changes) -> None: ...

    def acknowledge(self, changes: Changes) -> None: ...

    def refuse(self, changes: Changes) -> None: ...


class Writer:
    """Works on one store, alone. Threads go by a key, the first word of their titles."""

    def __init__(self, open_store: Callable[[], Store], ledger: Ledger, states: dict[str, State]) -> None:
        self._open_store = open_store
        self._ledger = ledger
        self._states = states
        self._made = 0
        self.store = open_store()
        self.ids = {thread.title.split()[0]: thread.id for thread in self.store.threads.page(PAGE).items}
        self.refusals = 0

    def restart(self) -> None:
        """Close the store and open it again."""
        self.store.close()
        self.store = self._open_store()

    def create(self, key: str, texts: tuple[str, ...] = ()) -> None:
        """Make a thread, with its first messages at once."""
        said = [self._say(text) for text in texts]
        title = f"{key} new"
        state = {"place": "threads", "title": title, "messages": said, "runs": [], "files": [], "cleared": []}
        with self._doing({key: [state]}):
            messages = [_message(ThreadId(""), item) for item in said]
            self.ids[key] = self.store.create_thread(JAN, replace(BLANK, title=title), messages).id

    def append(self, key: str, *texts: str) -> None:
        """Add messages in one request."""
        state = self._thread(key)
        said = [self._say(text) for text in texts]
        state["messages"] += said
        with self._doing({key: [state]}):
            self.store.append(self.ids[key], [_message(self.ids[key], item) for item in said])

    def edit(self, key: str, number: int, value: str) -> None:
        """Change a message's metadata, on condition that it is as it was read."""
        state = self._thread(key)
        state["messages"][number][2] = value
        thread_id, message_id = self.ids[key], MessageId(state["messages"][number][0])
        revision = self.store.messages.get(thread_id, message_id).revision
        with self._doing({key: [state]}):
            self.store.messages.change(
                thread_id, message_id, lambda old: replace(old, metadata={"edit": value}), [revision]
            )

    def delete_message(self, key: str, number: int) -> None:
        """Take a message out."""
        state = self._thread(key)
        message_id, _, _ = state["messages"].pop(number)
        with self._doing({key: [state]}):
            self.store.messages.delete(self.ids[key], MessageId(message_id))

    def retitle(self, key: str, words: str) -> None:
        """Change a thread's own file."""
        state = self._thread(key) | {"title": f"{key} {words}"}
        revision = self.store.threads.get(self.ids[key]).revision
        with self._doing({key: [state]}):
            self.store.threads.change(self.ids[key], lambda old: replace(old, title=state["title"]), [revision])

    def start_run(self, key: str, text: str) -> str:
        """Add a message and accept a run on it, in one request; answers the run's id."""
        said, run_id = self._say(text), self._name("run")
        asked = self._thread(key)
        asked["messages"].append(said)
        begun = copy.deepcopy(asked)
        begun["runs"].append([run_id, "queued"])
        with self._doing({key: [asked, begun]}):
            run = Run(RunId(run_id), self.ids[key], JAN, RunStatus.QUEUED, created_ms=1_704_504_640_000)
            self.store.create_run(run, [_message(self.ids[key], said)])
        return run_id

    def end_run(self, key: str, run_id: str) -> None:
        """Say that a run has ended."""
        state = self._thread(key)
        state["runs"] = [[name, "completed" if name == run_id else status] for name, status in state["runs"]]
        run = self.store.runs.get(self.ids[key], RunId(run_id))
        with self._doing({key: [state]}):
            self.store.runs.update(replace(run, status=RunStatus.COMPLETED, completed_ms=1_704_504_650_000))

    def delete(self, key: str) -> None:
        """Move a thread into the trash."""
        with self._doing({key: [self._thread(key) | {"place": "trash"}]}):
            self.store.delete_thread(self.ids[key])

    def restore(self, key: str) -> None:
        """Bring a deleted thread back."""
        entry = next(entry for entry in self._trash() if self.ids[key] in [item.id for item in entry.items])
        with self._doing({key: [self._thread(key) | {"place": "threads"}]}):
            self.store.restore(entry.id)

    def clear(self, key: str) -> None:
        """Move what was said in a thread into the trash: messages first, then runs, then files."""
        state, steps = self._thread(key), []
        entry: dict[str, Any] = {"messages": [], "runs": [], "files": []}
        for name in entry:
            if state[name]:
                entry |= {name: state[name]}
                state |= {name: [], "cleared": [*self._thread(key)["cleared"], dict(entry)]}
                steps.append(copy.deepcopy(state))
        with self._doing({key: steps}):
            self.store.clear_thread(self.ids[key])

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
        entries = [entry for entry in self._trash() if entry.kind == "messages"]
        with self._doing({key: steps}):
            self.store.restore(next(item.id for item in entries if self.ids[key] in [one.id for one in item.items]))

    def clone(self, key: str, copy_key: str) -> None:
        """Copy a thread, without its runs."""
        state = self._thread(key) | {"title": f"{copy_key} copy", "runs": [], "cleared": []}
        with self._doing({copy_key: [state]}):
            self.ids[copy_key] = self.store.clone_thread(self.ids[key], state["title"]).id

    def upload(self, name: str, pieces: int) -> None:
        """Take a file in, piece by piece."""
        data = [bytes([number % 256]) * 5000 for number in range(pieces)]
        digest = hashlib.sha256(b"".join(data)).hexdigest()[:16]
        file_id = FileId(f"file-{hashlib.sha256(name.encode()).hexdigest()[:24]}")
        with self._doing({f"upload {name}": [{"bytes": 5000 * pieces, "digest": digest}]}):
            upload = self.store.files.begin()
            try:
                for piece in data:
                    upload.write(piece)
                self.store.files.finish(upload, File(file_id, name, "batch", 0, 0))
            finally:
                upload.discard()
        self.ids[name] = ThreadId(file_id)

    def delete_upload(self, name: str) -> None:
        """Remove an upload for good."""
        with self._doing({f"upload {name}": [None]}):
            self.store.files.delete(FileId(self.ids[name]))

    def create_assistant(self, name: str, says: str) -> None:
        """Make an assistant."""
        with self._doing({f"assistant {name}": [{"place": "assistants", "name": says}]}):
            self.store.assistants.create(Assistant(AssistantId(name), name=says))

    def change_assistant(self, name: str, says: str) -> None:
        """Change an assistant's file."""
        with self._doing({f"assistant {name}": [{"place": "assistants", "name": says}]}):
            self.store.assistants.change(AssistantId(name), lambda old: replace(old, name=says))

    def delete_assistant(self, name: str) -> None:
        """Move an assistant into the trash."""
        state = self._thread(f"assistant {name}") | {"place": "trash"}
        with self._doing({f"assistant {name}": [state]}):
            self.store.assistants.delete(AssistantId(name))

    @contextlib.contextmanager
    def _doing(self, changes: Changes) -> Iterator[None]:
        """Around one request: the states it leads to are known before, and taken over when it is answered."""
        self._ledger.begin(changes)
        try:
            yield
        except StorageFullError:
            self.refusals += 1
            self._ledger.refuse(changes)
            return
        self._states.update({key: copy.deepcopy(states[-1]) for key, states in changes.items()})
        self._ledger.acknowledge(changes)

    def _thread(self, key: str) -> dict[str, Any]:
        """A copy of a thread's state, to be changed."""
        state = self._states[key]
        assert state is not None, key
        return copy.deepcopy(state)

    def _trash(self) -> list[Any]:
        return list(self.store.trash.page(PAGE).items)

    def _say(self, text: str) -> list[str]:
        return [self._name("msg"), text, ""]

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{kind}_{self._made:04}"


def _message(thread_id: ThreadId, said: list[str]) -> Message:
    name, text, _ = said
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    return Message(MessageId(name), thread_id, Role.USER, content, status=MessageStatus.COMPLETED)
