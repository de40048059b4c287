"""Imports without HTTP: crashes while they are published, what keeps its bytes, names, runs, odd archives."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from jan.errors import ConflictError, InvalidArgumentError, StorageFullError
from jan.ids import RunId, ThreadId
from storage_service.store.exports import thread as thread_export
from storage_service.store.importing import importer as importing
from storage_service.store.importing.importer import Importer
from storage_service.store.paging import PageQuery
from storage_service.store.records import RunStatus
from storage_service.store.store import Store
from tests.fixtures import jan_damage, jan_folders, jan_models, zips
from tests.fixtures.archives import tree, zipped
from tests.fixtures.jan_files import lines
from tests.fixtures.storage import limited_files
from tests.storage_service.store.crashes import Crash, crash_points
from tests.storage_service.store.importing.conftest import Import

ALL = PageQuery(limit=100, descending=False)


def thread_zip(**files: bytes) -> bytes:
    """One thread `jan_1700000001` with these files; `messages__jsonl` stands for `messages.jsonl`."""
    return zips.zip_of({f"jan_1700000001/{name.replace('__', '.')}": data for name, data in files.items()})


def one_of_everything() -> bytes:
    return zips.zip_of(
        {
            "assistants/poet/assistant.json": b'{"name":"Poet"}',
            "models/demo/model.json": b'{"format":"gguf"}',
            "models/demo/demo.gguf": b"GGUF",
            "files/file-1": b"bytes",
            "files/file-1.json": b'{"object":"file"}',
            "threads/jan_1700000001/thread.json": b'{"title":"One"}',
            "threads/jan_1700000001/messages.jsonl": lines([{"id": "a", "role": "user", "content": "x"}]).encode(),
            "threads/jan_1700000002/thread.json": b'{"title":"Two"}',
            "notes.txt": b"mine",
        }
    )


@pytest.mark.slow
def test_a_crash_at_any_call_leaves_whole_things_and_a_repetition_brings_the_rest(tmp_path: Path) -> None:
    data = tmp_path / "upload"
    data.write_bytes(one_of_everything())
    for number, point in enumerate(crash_points()):
        janroot = tmp_path / str(number)
        store = Store.open(janroot)
        crashing = Importer(store, lambda: 1, store.layout.staging / "import", data, dry_run=False)
        try:
            with point:
                for _ in crashing.steps():
                    pass
        except Crash:
            pass
        store.close()
        store = Store.open(janroot)
        assert list((janroot / ".server/staging").iterdir()) == []
        for thread in store.threads.page(ALL).items:
            assert thread.title in {"One", "Two"}
            if thread.title == "One":
                assert (janroot / "threads" / thread.id / "messages.jsonl").stat().st_size > 0
        again = Importer(store, lambda: 1, store.layout.staging / "import", data, dry_run=False)
        for _ in again.steps():
            pass
        again.discard()
        store.close()
        names = {path.name for home in ("threads", "assistants", "models") for path in (janroot / home).iterdir()}
        assert names == {"jan_1700000001", "jan_1700000002", "jan", "poet", "demo"}
        assert (janroot / "files/file-1").read_bytes() == b"bytes"


def test_a_full_disk_leaves_nothing(store: Store, janroot: Path, take_in: Import) -> None:
    data = thread_zip(thread__json=b"{}", messages__jsonl=os.urandom(100_000))
    before = tree(janroot)
    with pytest.raises(StorageFullError), limited_files(110_000):
        # The upload itself fits, and the first file; then nothing does.
        take_in(zips.zip_of({"jan_1/thread.json": b"{}", "jan_1/messages.jsonl": b"x" * 120_000}))
    assert tree(janroot) == before
    assert take_in(data).counts["threads"] == 1


def test_a_disk_without_room_for_a_folder_is_full_too(
    janroot: Path, take_in: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir

    def no_room(path: Path, *rest: int) -> None:
        if Path(path).name == "finished":
            raise OSError(errno.ENOSPC, "No space left on device")
        mkdir(path, *rest)

    before = tree(janroot)
    monkeypatch.setattr(os, "mkdir", no_room)
    with pytest.raises(StorageFullError):
        take_in(thread_zip(thread__json=b"{}"))
    assert tree(janroot) == before


def test_every_generation_of_models_comes_in_as_it_is(
    store: Store, janroot: Path, tmp_path: Path, take_in: Import
) -> None:
    source = tmp_path / "Jan"
    served = jan_models.every_model(source)
    take_in(zipped(source, "a/b/"))
    assert sorted(model.id for model in store.models.all()) == sorted(served)
    for path in source.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert (janroot / path.relative_to(source)).read_bytes() == path.read_bytes()
    again = take_in(zipped(source))
    assert (again.counts["models"], again.counts["refused"]) == (0, 0)


def test_a_model_that_is_here_is_not_replaced(janroot: Path, take_in: Import) -> None:
    take_in(zips.zip_of({"models/vendor/name/model.json": b'{"format":"gguf"}'}))
    report = take_in(zips.zip_of({"models/vendor/name/model.json": b'{"format":"api"}'}))
    assert [item["path"] for item in report.lists["refused"]] == ["models/vendor/name"]
    assert (janroot / "models/vendor/name/model.json").read_bytes() == b'{"format":"gguf"}'


def test_lines_that_need_not_change_keep_their_bytes(janroot: Path, take_in: Import) -> None:
    said = b'\xef\xbb\xbf{"id" : "a","role":"user", "content":"x","odd":1e3}\r\n\nnot json\n{"id":"half'
    take_in(thread_zip(thread__json=b'{ "odd" :  true }', messages__jsonl=said, memory_index=b"\x00"))
    folder = janroot / "threads/jan_1700000001"
    assert (folder / "messages.jsonl").read_bytes() == said
    assert (folder / "thread.json").read_bytes() == b'{ "odd" :  true }'
    assert (folder / "memory_index").read_bytes() == b"\x00"


def test_a_thread_that_went_on_here_is_known_and_one_that_went_on_elsewhere_is_not(
    janroot: Path, take_in: Import
) -> None:
    first = lines([{"id": "a", "role": "user", "content": "x"}]).encode()
    longer = first + lines([{"id": "b", "role": "user", "content": "y"}]).encode()
    assert take_in(thread_zip(messages__jsonl=longer)).counts["kept"] == 1
    assert take_in(thread_zip(messages__jsonl=first)).counts["already_here"] == 1
    other = first + lines([{"id": "b", "role": "user", "content": "z"}]).encode()
    assert take_in(thread_zip(messages__jsonl=other)).lists["remapped"][0]["to"] == "jan_1700000001-2"
    assert take_in(thread_zip(messages__jsonl=other)).lists["already_here"][0]["id"] == "jan_1700000001-2"
    assert sorted(path.name for path in (janroot / "threads").iterdir()) == ["jan_1700000001", "jan_1700000001-2"]


def test_runs_that_were_active_have_ended(store: Store, take_in: Import) -> None:
    run = {
        "id": "run_1",
        "object": "thread.run",
        "thread_id": "jan_1700000001",
        "assistant_id": "jan",
        "status": "in_progress",
        "created_at": 1700000001000,
    }
    data = lines([run, run | {"id": "run_2", "status": "completed"}]).encode() + b'{"id":"run_3","obj'
    report = take_in(thread_zip(thread__json=b"{}", runs__jsonl=data))
    thread_id = ThreadId("jan_1700000001")
    assert store.runs.get(thread_id, RunId("run_1")).status is RunStatus.CANCELLED
    assert store.runs.get(thread_id, RunId("run_2")).status is RunStatus.COMPLETED
    assert store.runs.all_active() == []
    assert report.counts["quarantined"] == 1  # the torn line, which had to make room for the end of run_1


def test_a_name_in_the_trash_is_not_given_again(store: Store, take_in: Import) -> None:
    data = thread_zip(thread__json=b'{"title":"One"}')
    take_in(data)
    store.delete_thread(ThreadId("jan_1700000001"))
    assert take_in(data).lists["remapped"] == [{"kind": "thread", "from": "jan_1700000001", "to": "jan_1700000001-2"}]


def test_a_thread_without_a_folder_is_named_by_its_file(janroot: Path, take_in: Import) -> None:
    take_in(zips.zip_of({"thread.json": b'{"id":"jan_5","title":"x"}', "files/a.png": b"png"}))
    assert (janroot / "threads/jan_5/files/a.png").read_bytes() == b"png"
    take_in(zips.zip_of({"thread.json": b'{"title":"x","created":1700000009000}'}))
    assert (janroot / "threads/jan_1700000009").is_dir()


def test_two_roots_in_one_archive_do_not_mix(janroot: Path, take_in: Import) -> None:
    def root(who: str) -> dict[str, bytes]:
        return {
            f"{who}/threads/jan_1700000001/thread.json": json.dumps(
                {"title": who, "assistants": [{"assistant_id": "poet"}]}
            ).encode(),
            f"{who}/assistants/poet/assistant.json": json.dumps({"instructions": who}).encode(),
        }

    report = take_in(zips.zip_of(root("ada") | root("grace") | {"readme.txt": b"both"}))
    assert {item["to"] for item in report.lists["remapped"]} == {"jan_1700000001-2", "poet-2"}
    second = json.loads((janroot / "threads/jan_1700000001-2/thread.json").read_bytes())
    assert (second["title"], second["assistants"]) == ("grace", [{"assistant_id": "poet-2"}])
    assert [item["path"] for item in report.lists["quarantined"]] == ["readme.txt"]


def test_cortex_uploads_get_a_description_and_an_id(store: Store, janroot: Path, take_in: Import) -> None:
    line = {"id": "a", "role": "user", "content": "see", "attachments": [{"file_id": "plan.pdf", "tools": []}]}
    data = zips.zip_of(
        {
            "threads/jan_1/thread.json": b"{}",
            "threads/jan_1/messages.jsonl": lines([line]).encode(),
            "files/plan.pdf": b"%PDF",
        }
    )
    renamed = take_in(data).lists["remapped"][0]
    assert (renamed["kind"], renamed["from"]) == ("file", "plan.pdf")
    said = json.loads((janroot / "threads/jan_1/messages.jsonl").read_bytes())
    assert said["attachments"][0]["file_id"] == renamed["to"]
    file = store.files.page(PageQuery(limit=10, descending=False)).items[0]
    assert (file.id, file.filename, file.purpose, file.size_bytes) == (renamed["to"], "plan.pdf", "assistants", 4)
    assert take_in(data).counts["already_here"] == 2


def test_whatever_a_damaged_folder_holds_is_somewhere(janroot: Path, tmp_path: Path, take_in: Import) -> None:
    """The bytes of every file lie in an object or in the quarantine, but for what the report says is left out."""
    source = tmp_path / "Jan"
    jan_damage.damaged_root(source, tmp_path / "outside")
    jan_folders.cortex_thread(source)
    report = take_in(zipped(source))
    left_out = {item["path"] for name in ("refused", "redacted") for item in report.lists[name]}
    moved = {item["from"] for item in report.lists["remapped"]} | {jan_folders.FLAT_THREAD}
    here = {path.read_bytes() for path in janroot.rglob("*") if path.is_file()}
    for path in source.rglob("*"):
        name = str(path.relative_to(source))
        if path.is_symlink() or not path.is_file() or name in left_out or moved & {*path.parts, path.stem}:
            continue
        assert path.read_bytes() in here, name


def test_a_name_that_is_taken_while_it_is_published_stops_the_rest(
    store: Store, tmp_path: Path, take_in: Import
) -> None:
    data = tmp_path / "upload"
    data.write_bytes(one_of_everything())
    work = Importer(store, lambda: 1, store.layout.staging / "import", data, dry_run=False)
    steps = work.steps()
    while next(steps).stage != "publishing":
        pass
    (store.threads.home / "jan_1700000002").mkdir()
    with pytest.raises(ConflictError):
        list(steps)
    work.discard()
    (store.threads.home / "jan_1700000002").rmdir()
    assert take_in(one_of_everything()).counts["threads"] == 1


def test_what_cannot_be_imported_is_told_with_what_can(take_in: Import) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        take_in(zips.zip_of({"holiday.jpg": b"x"}))
    assert caught.value.code == "unknown_archive"
    assert "conversations.json" in caught.value.message
    assert importing.UNDERSTOOD in caught.value.message


def test_what_a_janroot_exports_of_itself_comes_in_elsewhere(tmp_path: Path, take_in: Import) -> None:
    other = Store.open(tmp_path / "other")
    jan_folders.v04_thread(tmp_path / "other")
    jan_models.remote_model(tmp_path / "other")
    data = b"".join(thread_export.pieces(other, ThreadId(jan_folders.V04_THREAD), lambda _, work: work()))
    other.close()
    report = take_in(data)
    assert (report.kind, report.counts["threads"], report.counts["messages"]) == ("thread", 1, 8)
    assert report.counts["quarantined"] == report.counts["refused"] == 0


@pytest.mark.parametrize("base", ["", "a/jan/"])
def test_what_another_server_keeps_for_itself_stays_out_with_one_reason(
    store: Store, janroot: Path, take_in: Import, base: str
) -> None:
    trash = f"{base}.server/trash"
    files = {
        f"{base}threads/jan_1700000001/thread.json": b"{}",
        f"{base}threads/jan_1700000001/.server/own.txt": b"mine",
        f"{trash}/thread-1700000000000-0123abcd/jan_1700000002/thread.json": b"{}",
        f"{trash}/janroot-1700000000000-0123abcd/threads/jan_1700000003/thread.json": b"{}",
        f"{trash}/assistant-1700000000000-0123abcd/poet/assistant.json": b"{}",
        f"{base}.server/quarantine/import-1/engines/openai.json": b'{"api_key":"sk-canary"}',
        f"{base}.server/index/search.sqlite": b"index",
    }
    report = take_in(zips.zip_of(files))
    assert [item["path"] for item in report.lists["refused"]] == [f"{base}.server"]
    assert (report.counts["threads"], report.counts["refused"], report.counts["quarantined"]) == (1, 1, 0)
    assert [thread.id for thread in store.threads.page(ALL).items] == ["jan_1700000001"]
    assert (janroot / "threads/jan_1700000001/.server/own.txt").read_bytes() == b"mine"
    assert list((janroot / ".server/quarantine").iterdir()) == []
    with pytest.raises(InvalidArgumentError):
        take_in(zips.zip_of({name: data for name, data in files.items() if "trash/" in name}))


def test_what_is_nested_too_deep_to_be_written_again_costs_nothing_else(
    store: Store, janroot: Path, take_in: Import
) -> None:
    deep = b'{"a":' * 300 + b'"b@d"' + b"}" * 300
    line = b'{"id":"m","thread_id":"../x","role":"user","content":[],"assistant_id":"b@d","x":' + deep + b"}\n"
    report = take_in(
        zips.zip_of(
            {
                "threads/jan_1/thread.json": b'{"title":"good"}',
                "threads/a b_2/thread.json": b'{"title":"odd"}',
                "threads/a b_2/messages.jsonl": line,
                "threads/jan_3/thread.json": b'{"metadata":' + deep + b"}",
                "threads/jan_3/messages.jsonl": b'{"id":"m","role":"user","content":"x"}\n',
                "threads/jan_4.json": b'{"messages":[' + deep + b"]}",
                "assistants/b@d/assistant.json": b'{"name":"B","x":' + deep + b"}",
                "files/f.bin": b"bytes",
                "files/f.bin.json": b'{"id":"f.bin","x":' + deep + b"}",
                "settings/x.json": b'{"api_key":"sk","x":' + deep + b"}",
            }
        )
    )
    assert {thread.title for thread in store.threads.page(ALL).items} == {"good", "odd", ""}
    assert (janroot / "threads" / "a_b_2" / "messages.jsonl").read_bytes() == line
    assert {item["path"] for item in report.lists["quarantined"]} == {
        "threads/jan_3/thread.json",
        "threads/jan_4.json",
        "assistants/b@d/assistant.json",
        "files/f.bin.json",
    }
    assert [item["path"] for item in report.lists["refused"]] == ["settings/x.json"]


def with_own_threads(base: str) -> dict[str, bytes]:
    """A root with two assistants, who have a thread of one name each in their own folders."""
    files = {f"{base}threads/jan_1700000009/thread.json": b"{}"}
    for name in ("poet", "cook"):
        folder = f"{base}assistants/{name}"
        said = lines([{"id": "a", "role": "user", "content": name}]).encode()
        files[f"{folder}/assistant.json"] = b'{"name":"%s"}' % name.encode()
        files[f"{folder}/threads/jan_1/thread.json"] = b'{ "title" : "own" }'
        files[f"{folder}/threads/jan_1/messages.jsonl"] = said
        files[f"{folder}/threads/jan_1700000001.json"] = b"{}"
    return files


@pytest.mark.parametrize("base", ["", "a/jan/"])
def test_an_assistants_own_threads_come_in_its_folder(store: Store, janroot: Path, take_in: Import, base: str) -> None:
    files = with_own_threads(base)
    report = take_in(zips.zip_of(files))
    assert (report.counts["threads"], report.counts["assistants"], report.counts["quarantined"]) == (1, 2, 0)
    assert [thread.id for thread in store.threads.page(ALL).items] == ["jan_1700000009"]
    for name, data in files.items():
        assert (janroot / name.removeprefix(base)).read_bytes() == data
    again = take_in(zips.zip_of(files))
    assert (again.counts["already_here"], again.counts["kept"], again.counts["quarantined"]) == (3, 0, 0)


def test_what_was_said_in_the_folder_of_an_assistant_that_is_here_is_not_lost(
    store: Store, janroot: Path, take_in: Import
) -> None:
    files = with_own_threads("")
    take_in(zips.zip_of({name: data for name, data in files.items() if "/threads/" not in name}))
    edited = "assistants/poet/threads/jan_1/messages.jsonl"
    (janroot / edited).parent.mkdir(parents=True)
    (janroot / edited).write_bytes(files[edited][::-1])
    report = take_in(zips.zip_of(files))
    own = {name for name in files if name.startswith("assistants/") and "/threads/" in name}
    assert {item["path"] for item in report.lists["quarantined"]} == own
    for name in own:
        assert (janroot / report.quarantine / name).read_bytes() == files[name]
    assert (janroot / edited).read_bytes() == files[edited][::-1]
    assert [thread.id for thread in store.threads.page(ALL).items] == ["jan_1700000009"]


def test_threads_in_the_folder_of_no_assistant_become_threads(store: Store, take_in: Import) -> None:
    files = {name: data for name, data in with_own_threads("").items() if not name.endswith("assistant.json")}
    assert take_in(zips.zip_of(files)).counts["threads"] == 5
    assert len(store.threads.page(ALL).items) == 5
