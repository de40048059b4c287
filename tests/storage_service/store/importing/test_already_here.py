"""What is told to be here already is here: nothing that an archive holds is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.fixtures import zips
from tests.storage_service.store.importing.conftest import Import

THREAD = "threads/jan_5"
FILES = {
    f"{THREAD}/thread.json": b'{"title":"Pears","updated":1}',
    f"{THREAD}/messages.jsonl": b'{"id":"m","role":"user","content":"x"}\n',
    f"{THREAD}/runs.jsonl": b'{"id":"run_1","object":"thread.run","status":"completed"}\n',
    f"{THREAD}/files/a.png": b"PNG",
    f"{THREAD}/memory/n.json": b"{}",
}


def set_aside(janroot: Path, quarantine: str) -> dict[str, bytes]:
    """What lies in a folder of the quarantine."""
    home = janroot / quarantine
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_thread_of_which_everything_is_here_is_left_alone(janroot: Path, take_in: Import) -> None:
    take_in(zips.zip_of(FILES))
    home = janroot / THREAD
    for name in ("messages.jsonl", "runs.jsonl"):
        with (home / name).open("ab") as file:
            file.write(b'{"id":"more","role":"user","content":"y"}\n')
    report = take_in(zips.zip_of(FILES | {f"{THREAD}/thread.json": b'{"updated":7,"title":"Pears"}'}))
    assert report.lists["already_here"] == [{"kind": "thread", "id": "jan_5"}]
    assert (report.counts["quarantined"], report.quarantine) == (0, "")


def test_what_a_thread_that_is_here_lacks_or_has_otherwise_is_kept_and_told(janroot: Path, take_in: Import) -> None:
    take_in(zips.zip_of(FILES))
    home = janroot / THREAD
    shutil.rmtree(home / "files")
    (home / "thread.json").write_text("")
    (home / "memory/n.json").write_text('{"mine":1}')
    (home / "runs.jsonl").write_text("")
    report = take_in(zips.zip_of(FILES))
    wanted = {name: data for name, data in FILES.items() if not name.endswith("messages.jsonl")}
    assert {item["path"] for item in report.lists["quarantined"]} == set(wanted)
    assert set_aside(janroot, report.quarantine) == wanted
    assert report.lists["already_here"] == [{"kind": "thread", "id": "jan_5"}]
    assert (home / "memory/n.json").read_text() == '{"mine":1}'
    again = take_in(zips.zip_of(FILES))
    assert again.quarantine == report.quarantine
    assert len(list((janroot / ".server/quarantine").iterdir())) == 1


def test_the_same_holds_under_another_name(janroot: Path, take_in: Import) -> None:
    take_in(zips.zip_of({f"{THREAD}/messages.jsonl": b'{"id":"else","role":"user","content":"z"}\n'}))
    assert take_in(zips.zip_of(FILES)).lists["remapped"] == [{"kind": "thread", "from": "jan_5", "to": "jan_5-2"}]
    assert take_in(zips.zip_of(FILES)).counts["quarantined"] == 0
    report = take_in(zips.zip_of(FILES | {f"{THREAD}/files/b.png": b"NEW"}))
    assert report.lists["already_here"] == [{"kind": "thread", "id": "jan_5-2", "from": "jan_5"}]
    assert set_aside(janroot, report.quarantine) == {f"{THREAD}/files/b.png": b"NEW"}


def test_weights_of_the_same_length_are_not_the_same_weights(janroot: Path, take_in: Import) -> None:
    model = {"models/m/model.json": b'{"id":"m"}', "models/m/w.gguf": b"A" * 1_000}
    take_in(zips.zip_of(model))
    assert take_in(zips.zip_of(model)).counts["already_here"] == 1
    report = take_in(zips.zip_of(model | {"models/m/w.gguf": b"B" * 1_000}))
    assert (report.counts["already_here"], report.counts["refused"]) == (0, 1)
    assert (janroot / "models/m/w.gguf").read_bytes() == b"A" * 1_000


def test_what_lies_beside_an_assistant_that_is_here_is_kept_and_told(janroot: Path, take_in: Import) -> None:
    described = {"assistants/poet/assistant.json": b'{"id":"poet","name":"Poet","instructions":"Rhyme."}'}
    beside = {"assistants/poet/src/index.js": b"run()", "assistants/poet/face.png": b"PNG"}
    take_in(zips.zip_of(described | {"assistants/poet/face.png": b"PNG"}))
    report = take_in(zips.zip_of(described | beside))
    assert report.lists["already_here"] == [{"kind": "assistant", "id": "poet"}]
    assert set_aside(janroot, report.quarantine) == {"assistants/poet/src/index.js": b"run()"}
    assert take_in(zips.zip_of(described | {"assistants/poet/face.png": b"PNG"})).counts["quarantined"] == 0
