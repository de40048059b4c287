"""One janroot in a storm: the real service, writers that load it, and what is found after each kill."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jan.errors import DeadlineExceededError, InternalError, UnavailableError
from jan.ids import ThreadId
from storage_service.store.paging import PageQuery
from tests.chaos import checks, oracle, shared
from tests.chaos.endless import one_day
from tests.chaos.history import Changes, History, State
from tests.chaos.nursery import ROOT
from tests.chaos.oracle import Finding, Seen
from tests.chaos.remote import Remote
from tests.chaos.shared import SHARED, Appends
from tests.chaos.writer import Writer

WRITERS = 8
OWN_THREADS = "abc"
LEAST_SECONDS, MOST_SECONDS = 0.2, 0.8
LIST_ORDER = "the order of lists stays"
ANSWERS = "a request is answered, or breaks off because the service is gone"


class SharedHistory(History):
    """A history that several threads write to."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def begin(self, changes: Changes) -> None:
        with self._lock:
            super().begin(changes)

    def acknowledge(self, changes: Changes) -> None:
        with self._lock:
            super().acknowledge(changes)


class Lane:
    """A service that is killed again and again; `findings` must stay empty."""

    def __init__(self, folder: Path, chance: random.Random, bug: str = "") -> None:
        self._bug = bug
        self.findings: list[Finding] = []
        self.kills = 0
        self.load_seconds = 0.0
        self._folder = folder
        self._janroot = folder / "janroot"
        self._janroot.mkdir()
        self._chance = chance
        self._history = SharedHistory()
        self._appends = Appends()
        self._seen = Seen()
        self._listed: list[str] = []

    def environment(self) -> Mapping[str, str]:
        """What the service finds in its environment besides its settings; asked for at each start."""
        return {}

    def program(self) -> Sequence[str]:
        """What is started."""
        return self._planted("")

    def disturb(self) -> None:
        """What happens while the writers work, before the kill."""
        time.sleep(self._chance.uniform(LEAST_SECONDS, MOST_SECONDS))

    @property
    def writes(self) -> int:
        """How many writes were acknowledged."""
        return self._history.acknowledged_writes + self._appends.acknowledged

    def storm(self, kills: int) -> None:
        """Start, ask for everything, work, kill, look; so many times, or until something is found."""
        while self.kills < kills and not self.findings:
            with self._service() as (process, remote):
                told = _told(remote)
                self.findings += checks.same(checks.DISAGREES, _tails(self._seen), told)
                self.findings += self._check_order(list(told))
                if self.kills == 0:
                    self._appends.names = shared.create(remote)
                began = time.monotonic()
                self._work_until_killed(remote, process)
                self.load_seconds += time.monotonic() - began
            self.kills += 1
            self._look()

    def _check_order(self, listed: list[str]) -> Iterator[Finding]:
        """Threads that were listed before are listed in the same order."""
        known = set(self._listed)
        before, now = [[key for key in keys if key in known & set(listed)] for keys in (self._listed, listed)]
        if before != now:
            yield Finding(LIST_ORDER, f"{before} became {now}")
        self._listed = listed

    def _planted(self, first: str) -> Sequence[str]:
        """The service as it is, or after some other Python, with the mistake that is to be found."""
        if self._bug:
            first += f"\nfrom tests.chaos import planted\nplanted.BUGS[{self._bug!r}].plant()\n"
        return (
            ["-c", f"{first}\nfrom storage_service.__main__ import main\nmain()"]
            if first
            else ["-m", "storage_service"]
        )

    def _look(self) -> None:
        self._seen = oracle.read(self._janroot)
        own = _own(self._seen)
        self.findings += self._appends.check(self._seen)
        self.findings += checks.check(self._history, own)
        self._history.settle(own.objects)

    def _work_until_killed(self, remote: Remote, process: subprocess.Popen[bytes]) -> None:
        """Work with all writers until the service, killed at a moment drawn by lot, is gone."""
        killed = threading.Event()
        writers = [
            threading.Thread(target=self._write, args=(number, remote, killed), name=f"writer {number}")
            for number in range(WRITERS)
        ]
        for writer in writers:
            writer.start()
        self.disturb()
        killed.set()
        process.kill()
        for writer in writers:
            writer.join()

    def _write(self, number: int, remote: Remote, killed: threading.Event) -> None:
        called = f"{self.kills}x{number}x"
        chance = random.Random(f"{self._chance.random()} {called}")
        seen = _own(self._seen)
        writer = Writer(lambda: remote, self._janroot, self._history, chance=chance, seen=seen, called=called)
        try:
            self._write_for_ever(writer, [f"w{number}{letter}" for letter in OWN_THREADS])
        except (UnavailableError, DeadlineExceededError, InternalError) as error:
            if not killed.is_set():
                self.findings.append(Finding(ANSWERS, repr(error)))
        except Exception as error:  # noqa: BLE001  whatever it is, it is told with the seed
            self.findings.append(Finding(ANSWERS, repr(error)))

    def _write_for_ever(self, writer: Writer, keys: list[str]) -> None:
        for key in keys:
            if key not in writer.ids:
                writer.create(key, ("first",))
        while True:
            if writer.chance.randrange(3):
                one_day(writer, writer.chance.choice(keys), self.kills)
            else:
                key = writer.chance.choice(SHARED)
                self._appends.add(writer.store, key, writer.name("msg"), writer.chance)

    @contextmanager
    def _service(self) -> Iterator[tuple[subprocess.Popen[bytes], Remote]]:
        """The real service, once it answers."""
        address = f"unix:{self._folder}/harness.sock"
        log = self._folder / "harness.log"
        environment = (
            dict(os.environ)
            | dict(self.environment())
            | {
                "JANROOT_PATH": str(self._janroot),
                "JANROOT_RUN_DIR": str(self._folder / "harness.run"),
                "JANROOT_STORAGE_ADDR": address,
            }
        )
        command = [sys.executable, *self.program()]
        with log.open("wb") as said:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        remote = Remote(address)
        try:
            while not remote.is_serving():
                if process.poll() is not None:
                    raise RuntimeError(f"the service did not start: {log.read_text()[-2000:]}")
                time.sleep(0.01)
            yield process, remote
        finally:
            process.kill()
            process.wait()
            remote.close()


def _told(remote: Remote) -> dict[str, State]:
    """The last messages of each thread, as the service tells them."""
    last = PageQuery(limit=100)
    told: dict[str, State] = {}
    for thread in remote.threads.page(last).items:
        page = remote.messages.page(ThreadId(thread.id), last).items
        said = [[item.id, item.content[0]["text"]["value"], item.metadata.get("edit", "")] for item in page]
        told[thread.title.split()[0]] = {"title": thread.title, "messages": said[::-1]}
    return told


def _tails(seen: Seen) -> dict[str, State]:
    """The same from the files."""
    there = {key: state for key, state in seen.objects.items() if state is not None and state.get("place") == "threads"}
    return {key: {"title": state["title"], "messages": state["messages"][-100:]} for key, state in there.items()}


def _own(seen: Seen) -> Seen:
    """All but the threads that everybody appends to."""
    return replace(seen, objects={key: state for key, state in seen.objects.items() if key not in SHARED})
