"""A thread as a zip: byte for byte what lies in its folder, and nothing of anybody else's."""

from __future__ import annotations

import errno
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jan.errors import FailedPreconditionError, NotFoundError
from jan.ids import FileId, MessageId, ThreadId
from storage_service.store.exports import thread as thread_export
from storage_service.store.exports.alone import at_once
from storage_service.store.records import File, Message, Role, Thread
from storage_service.store.store import Store
from tests.storage_service.store.exports.closed_files import refuse_to_open

Result = TypeVar("Result")


def exported(store: Store, thread_id: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(b"".join(thread_export.pieces(store, ThreadId(thread_id), at_once))))


def upload(store: Store, data: bytes) -> FileId:
    file = File(FileId.new(), "plan.txt", "assistants", size_bytes=0, created_ms=0)
    upload = store.files.begin()
    upload.write(data)
    return store.files.finish(upload, file).id


def say(store: Store, thread: Thread, name: str, **fields: Any) -> None:
    store.append(thread.id, [Message(MessageId(name), thread.id, Role.USER, fields.pop("content", []), **fields)])


def on_disk(folder: Path, home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_and_the_uploads_it_names(store: Store, janroot: Path, thread: Thread) -> None:
    named, shown, other, gone = (upload(store, data) for data in (b"one", b"two", b"three", b"four"))
    say(store, thread, "m1", attachments=[{"file_id": named, "tools": []}, {"file_id": gone, "tools": []}])
    store.files.delete(gone)
    say(store, thread, "m2", content=[{"type": "image_file", "image_file": {"file_id": shown}}])
    say(store, thread, "m3", attachments=[{"file_id": named, "tools": []}])
    folder = janroot / "threads" / thread.id
    (folder / "files").mkdir()
    (folder / "files" / "m2.png").write_bytes(b"\x89PNG" * 200_000)
    (folder / "memory" / "deep").mkdir(parents=True)
    (folder / "messages.jsonl").write_bytes((folder / "messages.jsonl").read_bytes() + b'{"torn":')
    expected = on_disk(folder, janroot / "threads")
    for file_id in (named, shown):
        expected |= {f"files/{name}": (janroot / "files" / name).read_bytes() for name in (file_id, f"{file_id}.json")}
    with exported(store, thread.id) as archive:
        assert {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()} == expected
        folders = {info.filename for info in archive.infolist() if info.is_dir()}
        assert folders == {f"{thread.id}/{name}" for name in ("", "files/", "memory/", "memory/deep/")}
    assert other not in expected


def test_a_flat_thread_is_exported_as_it_lies(store: Store, janroot: Path) -> None:
    file_id = upload(store, b"one")
    path = janroot / "threads" / "jan_1700120003.json"
    message = {"role": "user", "content": "Hi", "file_ids": [file_id]}
    path.write_text(json.dumps({"messages": [message], "metadata": {"summary": "x"}}, indent=1))
    with exported(store, "jan_1700120003") as archive:
        assert archive.namelist() == ["jan_1700120003.json", f"files/{file_id}", f"files/{file_id}.json"]
        assert archive.read("jan_1700120003.json") == path.read_bytes()
    assert [entry.name for entry in (janroot / "threads").iterdir()] == ["jan_1700120003.json"]


def test_links_are_not_followed(store: Store, janroot: Path, thread: Thread, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "x").write_text("secret")
    folder = janroot / "threads" / thread.id
    (folder / "files").symlink_to(secret)
    (folder / "runs.jsonl").symlink_to(secret / "x")
    (folder / "other").symlink_to(secret / "x")
    with exported(store, thread.id) as archive:
        assert archive.namelist() == [f"{thread.id}/", f"{thread.id}/thread.json"]


@pytest.mark.parametrize("change", ["append", "delete"])
def test_what_happens_meanwhile_is_not_in_it(store: Store, janroot: Path, thread: Thread, change: str) -> None:
    say(store, thread, "m1")
    expected = on_disk(janroot / "threads" / thread.id, janroot / "threads")

    def alone(thread_id: str, work: Callable[[], Result]) -> Result:
        assert thread_id == thread.id
        result = work()
        if change == "append":
            say(store, thread, "m2")
        else:
            store.delete_thread(thread.id)
        return result

    data = b"".join(thread_export.pieces(store, thread.id, alone))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")} == expected


def test_an_unknown_thread(store: Store, janroot: Path) -> None:
    (janroot / "threads" / "ghost_1704504633").mkdir()
    for name in ("jan_1", "ghost_1704504633"):
        with pytest.raises(NotFoundError):
            exported(store, name)


def test_a_thread_whose_only_file_is_a_link_is_a_zip_without_it(store: Store, janroot: Path, tmp_path: Path) -> None:
    (tmp_path / "thread.json").write_text('{"title": "Secret"}')
    folder = janroot / "threads" / "jan_1705000010"
    folder.mkdir()
    (folder / "thread.json").symlink_to(tmp_path / "thread.json")
    assert store.threads.get(ThreadId(folder.name)).id == folder.name
    with exported(store, folder.name) as archive:
        assert archive.namelist() == [f"{folder.name}/"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_file_that_cannot_be_read_ends_it_before_its_end(
    store: Store, janroot: Path, thread: Thread, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    say(store, thread, "m1")
    (janroot / "threads" / thread.id / "files").mkdir()
    (janroot / "threads" / thread.id / "files" / "m.png").write_bytes(b"x")
    for name in ("messages.jsonl", "m.png"):
        with monkeypatch.context() as patch:
            refuse_to_open(patch, name, number)
            with pytest.raises(FailedPreconditionError if number == errno.EACCES else OSError, match=name):
                exported(store, thread.id)
