"""Assistants that come from elsewhere, in the store: what is kept, what is refused, what a crash leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jan.errors import ConflictError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.ids import AssistantId
from storage_service.store import atomic
from storage_service.store.assistant_imports import Arrival
from storage_service.store.records import Assistant, DownloadError
from storage_service.store.store import Store
from tests.fixtures.assistant_zips import INDEX_JS, SHAKESPEARE, folder, zipped

URL = "https://files.test/shakespeare.zip"
BARD = AssistantId("bard")
SLOW = DownloadError("download_too_slow", "The other server is too slow.")


def put(store: Store, data: bytes, wanted: str = "") -> Assistant:
    arrival = sent(store, data)
    try:
        return store.assistant_imports.put(arrival.unpack(), AssistantId(wanted) if wanted else None)
    finally:
        arrival.discard()


def arrive(store: Store, data: bytes) -> Assistant:
    arrival = sent(store, data)
    try:
        return store.assistant_imports.arrive(arrival.unpack(), BARD)
    finally:
        arrival.discard()


def sent(store: Store, data: bytes) -> Arrival:
    arrival = store.assistant_imports.begin()
    arrival.write(data)
    return arrival


def home(store: Store, assistant_id: str = BARD) -> Path:
    return store.layout.assistants / assistant_id


def raw(store: Store, assistant_id: str = BARD) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home(store, assistant_id) / "assistant.json").read_bytes())
    return found


def test_every_byte_is_kept_and_other_keys_too(store: Store) -> None:
    made = put(store, zipped(folder()))
    assert (home(store, "shakespeare") / "src" / "index.js").read_bytes() == INDEX_JS
    assert raw(store, "shakespeare") == SHAKESPEARE
    assert made.created_ms == 1_698_984_975_000


def test_the_draft_of_2023_is_named_as_its_folder(store: Store) -> None:
    made = put(store, zipped({"tutor/tutor.json": b"{}", "tutor/src/index.js": b"x"}))
    assert (made.id, raw(store, "tutor")) == ("tutor", {})
    assert put(store, zipped({"tutor/tutor.json": b"{}", "tutor/src/index.js": b"x"})) == made


def test_what_macos_adds_is_left_out(store: Store) -> None:
    assert put(store, zipped(folder() | {"__MACOSX/shakespeare/._assistant.json": b"x"})).id == "shakespeare"
    assert not (store.layout.assistants / "__MACOSX").exists()


def test_a_name_that_is_no_id_gives_way_to_the_one_in_the_file(store: Store) -> None:
    assert put(store, zipped(folder("My assistant (1)/"))).id == "asst_abc123"
    assert put(store, zipped(folder("My assistant (1)/", id="../x"))).id.startswith("asst_")


def test_a_strangers_file_does_not_say_what_state_it_is_in(store: Store) -> None:
    made = put(store, zipped(folder(state="to_download", source_url="http://inside.test/", error={"code": "x"})))
    assert (made.is_pending, made.error) == (False, None)
    assert "state" not in raw(store, made.id)


def test_a_folder_put_there_by_hand_is_an_assistant(store: Store) -> None:
    for name, data in folder("by-hand/").items():
        path = store.layout.assistants / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = store.assistants.get(AssistantId("by-hand"))
    assert (found.name, found.is_pending) == ("Shakespeare", False)
    with pytest.raises(ConflictError):
        put(store, zipped(folder(v=2)), "by-hand")
    assert put(store, zipped(folder()), "by-hand") == found


def test_a_folder_that_is_no_assistant_is_not_written_into(store: Store) -> None:
    home(store).mkdir()
    (home(store) / "notes.txt").write_text("mine")
    with pytest.raises(ConflictError, match="exists and is no assistant"):
        put(store, zipped(folder()), BARD)
    with pytest.raises(ConflictError):
        store.assistant_imports.register(BARD, URL)
    assert [path.name for path in home(store).iterdir()] == ["notes.txt"]


def test_a_pipe_among_the_files_is_another_assistant_and_is_not_opened(store: Store) -> None:
    put(store, zipped(folder()))
    pipe = home(store, "shakespeare") / "src" / "process.js"
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(ConflictError):
        put(store, zipped(folder()))


def test_waiting_survives_a_restart_with_the_reason_of_the_last_failure(store: Store, janroot: Path) -> None:
    made = store.assistant_imports.register(BARD, URL)
    store.assistant_imports.fail(BARD, SLOW)
    assert store.assistant_imports.register(BARD, URL).error == SLOW
    assert store.assistant_imports.register(None, URL).id == BARD
    with pytest.raises(ConflictError):
        store.assistant_imports.register(BARD, "https://other.test/")
    store.close()
    again = Store.open(janroot)
    found = again.assistants.get(BARD)
    assert (found.is_pending, found.error, found.source_url, found.created_ms) == (True, SLOW, URL, made.created_ms)
    assert again.assistant_imports.start(BARD).error is None
    again.close()
    Store.open(janroot).close()  # for the fixture, which closes it once more


def test_what_arrives_takes_the_place_of_what_waited(store: Store) -> None:
    waiting = store.assistant_imports.register(BARD, URL)
    store.assistant_imports.fail(BARD, SLOW)
    arrived = arrive(store, zipped(folder()))
    assert raw(store) == SHAKESPEARE | {"id": BARD, "created_at": waiting.created_ms, "source_url": URL}
    assert (arrived.is_pending, arrived.error) == (False, None)
    assert (home(store) / "src" / "index.js").read_bytes() == INDEX_JS
    with pytest.raises(FailedPreconditionError):
        arrive(store, zipped(folder()))


def test_nothing_that_lay_there_is_lost(store: Store) -> None:
    store.assistant_imports.register(BARD, URL)
    (home(store) / "package.json").write_text("mine")
    arrive(store, zipped(folder()))
    assert (home(store) / "package.json").read_bytes() == folder("")["package.json"]
    (aside,) = store.layout.quarantine.iterdir()
    assert aside.read_text() == "mine"


def test_a_crash_before_the_last_step_leaves_an_assistant_that_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.assistant_imports.register(BARD, URL)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(atomic, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            arrive(store, zipped(folder()))
    assert store.assistants.get(BARD).is_pending
    assert not arrive(store, zipped(folder())).is_pending


def test_one_that_was_deleted_meanwhile_does_not_come_back(store: Store) -> None:
    store.assistant_imports.register(BARD, URL)
    store.assistants.delete(BARD)
    with pytest.raises(NotFoundError):
        arrive(store, zipped(folder()))
    with pytest.raises(NotFoundError):
        store.assistant_imports.fail(BARD, SLOW)
    assert not home(store).exists()


@pytest.mark.parametrize("data", [b"", b"[1]", b"PK\3\4 and no more", zipped({"a.txt": b""})])
def test_what_is_no_assistant_is_refused_and_leaves_nothing(store: Store, data: bytes) -> None:
    with pytest.raises(InvalidArgumentError):
        put(store, data)
    assert not list(store.layout.staging.iterdir())
