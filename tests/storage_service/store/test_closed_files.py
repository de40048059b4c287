"""Folders and files that belong to somebody else, as `sudo cp -r` leaves them: passed over, neighbours unharmed.

Root may read everything, so the store is opened in a child process that has given its rights up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
LOOK = """
import json, os, sys
from pathlib import Path
from jan.errors import FailedPreconditionError
from jan.ids import AssistantId, MessageId, RunId, ThreadId
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, Role, Run, RunStatus
from storage_service.store.store import Store

def refusal(write):
    try:
        write()
    except FailedPreconditionError as error:
        return error.message

if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
store = Store.open(Path(sys.argv[1]), demo_weights=None)
open_thread = ThreadId("jan_1704504634")
threads = store.threads.page(PageQuery()).items
print(json.dumps({
    "threads": [thread.id for thread in threads],
    "messages": [message.id for message in store.messages.page(open_thread, PageQuery()).items],
    "runs": [run.id for run in store.runs.page(open_thread, PageQuery()).items],
    "assistants": [assistant.id for assistant in store.assistants.page(PageQuery()).items],
    "append": refusal(lambda: store.messages.append(
        open_thread, [Message(MessageId("m2"), open_thread, Role.USER, [])]
    )),
    "run": refusal(lambda: store.runs.create(
        Run(RunId("run_1"), open_thread, AssistantId("jan"), RunStatus.QUEUED, 1)
    )),
}))
"""


@pytest.fixture
def janroot() -> Iterator[Path]:
    # Not below pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="jan-closed-") as folder:
        Path(folder).chmod(0o777)
        for name in ("jan_1704504633", "jan_1704504634"):
            thread = Path(folder, "janroot", "threads", name)
            thread.mkdir(parents=True)
            (thread / "thread.json").write_text("{}")
            (thread / "messages.jsonl").write_text('{"id":"m1","role":"user","content":"Hi","created":1704504640111}\n')
            (thread / "runs.jsonl").write_text("")
        jan = Path(folder, "janroot", "assistants", "jan")
        jan.mkdir(parents=True)
        (jan / "assistant.json").write_text('{"name":"Mine"}')
        for path in (Path(folder), *Path(folder).rglob("*")):
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
        yield Path(folder, "janroot")
        # So that the folder can be removed by somebody who is not root.
        for path in Path(folder).rglob("*"):
            path.chmod(0o700)


def close(path: Path) -> None:
    """Take a file or folder from the one who opens the store: mode 0 stops its owner too, unless that is root."""
    path.chmod(0)


def look(janroot: Path) -> dict[str, Any]:
    """What a store sees that is not opened by root."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(janroot), str(NOBODY)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def test_a_closed_folder_hides_no_neighbour(janroot: Path) -> None:
    close(janroot / "threads" / "jan_1704504633")
    seen = look(janroot)
    assert seen["threads"] == ["jan_1704504634"]
    assert seen["messages"] == ["m1"]


@pytest.mark.parametrize("closed", ["runs.jsonl", "messages.jsonl"])
def test_a_closed_file_is_as_good_as_absent_and_is_not_written(janroot: Path, closed: str) -> None:
    path = janroot / "threads" / "jan_1704504634" / closed
    close(path)
    seen = look(janroot)
    assert seen["threads"] == ["jan_1704504634", "jan_1704504633"]
    assert seen["runs"] == []
    refused = seen["run" if closed == "runs.jsonl" else "append"]
    assert refused == f"The server may not write jan_1704504634/{closed}: see who owns it."


@pytest.mark.parametrize("closed", ["jan", "jan/assistant.json"])
def test_a_closed_assistant_is_left_alone(janroot: Path, closed: str) -> None:
    close(janroot / "assistants" / closed)
    assert look(janroot)["assistants"] == []
    (janroot / "assistants" / "jan").chmod(0o700)
    (janroot / "assistants" / "jan" / "assistant.json").chmod(0o600)
    assert (janroot / "assistants" / "jan" / "assistant.json").read_text() == '{"name":"Mine"}'
