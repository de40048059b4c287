"""Downloads as the store keeps them: what a crash at any step leaves, who may write, what becomes a model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import ConflictError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.ids import ModelId, PullId
from storage_service.store.pulls.claims import CLAIM_SECONDS
from storage_service.store.pulls.part import SYNC_BYTES
from storage_service.store.pulls.pulls import KEPT_ENDED, Piece, Pulls
from storage_service.store.pulls.record import Pull, PullFile, PullState
from storage_service.store.store import Store
from tests.fixtures.tiny_models import tiny_gguf
from tests.storage_service.conftest import HandStopwatch

GGUF = tiny_gguf()
SHA256 = hashlib.sha256(GGUF).hexdigest()
ME = "gateway-1"
WANTED = Pull(
    id=PullId(""),
    model_id=ModelId("org/a"),
    source="test",
    files=(PullFile("a.gguf", "http://host/a.gguf", len(GGUF), SHA256),),
    model_json={"id": "org/a", "engine": "llamacpp"},
    created_ms=0,
)


def begun(pulls: Pulls, wanted: Pull = WANTED) -> PullId:
    return pulls.begin(wanted).pull.id


def fetched(pulls: Pulls, wanted: Pull = WANTED) -> PullId:
    pull_id = begun(pulls, wanted)
    pulls.write(pull_id, ME, Piece("a.gguf", 0, GGUF, size_bytes=len(GGUF)))
    pulls.finish_file(pull_id, ME, "a.gguf")
    return pull_id


def reopened(store: Store, hf_cache: Path | None = None) -> Store:
    store.close()
    return Store.open(store.layout.root, hf_cache=hf_cache)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def staged(store: Store, pull_id: PullId) -> Path:
    return store.layout.pull(pull_id) / "files"


def test_only_whole_pieces_of_16_mib_are_believed_after_a_start(store: Store) -> None:
    wanted = replace(WANTED, files=(PullFile("a.gguf", "http://host/a.gguf"),))
    pull_id = begun(store.pulls, wanted)
    piece = bytes(4 * 2**20)
    for number in range(5):
        store.pulls.write(pull_id, ME, Piece("a.gguf", number * len(piece), piece))
    assert store.pulls.get(pull_id).received == {"a.gguf": 20 * 2**20}
    again = reopened(store)
    try:
        view = again.pulls.get(pull_id)
        assert (view.received, view.working) == ({"a.gguf": SYNC_BYTES}, False)
        with pytest.raises(ConflictError) as refused:
            again.pulls.write(pull_id, "gateway-2", Piece("a.gguf", 20 * 2**20, piece))
        assert refused.value.code == "pull_offset"
    finally:
        again.close()


def test_the_hash_of_a_file_that_grew_before_and_after_a_start(store: Store) -> None:
    data = GGUF[:-4096] + bytes(SYNC_BYTES)
    file = PullFile("a.gguf", "http://host/a.gguf", len(data), hashlib.sha256(data).hexdigest())
    pull_id = begun(store.pulls, replace(WANTED, files=(file,)))
    for offset in range(0, SYNC_BYTES, 2**22):
        store.pulls.write(pull_id, ME, Piece("a.gguf", offset, data[offset : offset + 2**22], size_bytes=len(data)))
    again = reopened(store)
    try:
        again.pulls.write(pull_id, ME, Piece("a.gguf", SYNC_BYTES, data[SYNC_BYTES:]))
        again.pulls.finish_file(pull_id, ME, "a.gguf")
        assert again.pulls.get(pull_id).pull.files[0].whole
    finally:
        again.close()


def test_what_is_said_twice_is_done_once(store: Store) -> None:
    pull_id = begun(store.pulls)
    half = len(GGUF) // 2
    for _ in range(2):
        assert store.pulls.write(pull_id, ME, Piece("a.gguf", 0, GGUF[:half], size_bytes=len(GGUF))) == half
    for _ in range(2):
        assert store.pulls.write(pull_id, ME, Piece("a.gguf", half, GGUF[half:])) == len(GGUF)
    for _ in range(2):
        store.pulls.finish_file(pull_id, ME, "a.gguf")
    for _ in range(2):
        assert store.pulls.publish(pull_id, ME).pull.state == PullState.COMPLETED
    assert (store.layout.model(WANTED.model_id) / "a.gguf").read_bytes() == GGUF


def test_a_crash_between_the_last_rename_and_its_record(store: Store) -> None:
    pull_id = fetched(store.pulls)
    folder = store.layout.model(WANTED.model_id)
    folder.parent.mkdir()
    (staged(store, pull_id) / "model.json").write_text("{}")
    staged(store, pull_id).rename(folder)
    again = reopened(store)
    try:
        assert again.pulls.publish(pull_id, ME).pull.state == PullState.COMPLETED
        assert names(folder) == ["a.gguf", "model.json"]
    finally:
        again.close()


def test_a_crash_right_after_a_link_does_no_harm_to_the_cache(store: Store, tmp_path: Path) -> None:
    blob = tmp_path / "hub" / "models--acme--a" / "blobs" / SHA256
    blob.parent.mkdir(parents=True)
    blob.write_bytes(GGUF)
    pull_id = begun(store.pulls)
    (staged(store, pull_id) / "a.gguf").hardlink_to(blob)
    again = reopened(store, hf_cache=tmp_path / "hub")
    try:
        assert again.pulls.get(pull_id).received == {"a.gguf": 0}
        assert blob.read_bytes() == GGUF
        assert again.pulls.link(pull_id, ME, "a.gguf")
        assert again.pulls.publish(pull_id, ME).pull.state == PullState.COMPLETED
        assert (again.layout.model(WANTED.model_id) / "a.gguf").samefile(blob)
    finally:
        again.close()


def test_one_gateway_works_at_a_download_until_its_claim_ends(store: Store, stopwatch: HandStopwatch) -> None:
    pull_id = begun(store.pulls)
    assert store.pulls.claim(pull_id, ME).working
    with pytest.raises(ConflictError) as refused:
        store.pulls.write(pull_id, "gateway-2", Piece("a.gguf", 0, GGUF))
    assert refused.value.code == "pull_claimed"
    stopwatch.seconds += CLAIM_SECONDS
    assert not store.pulls.get(pull_id).working
    store.pulls.claim(pull_id, "gateway-2")
    with pytest.raises(ConflictError):
        store.pulls.claim(pull_id, ME)


def test_what_ended_takes_no_bytes(store: Store) -> None:
    pull_id = begun(store.pulls)
    store.pulls.write(pull_id, ME, Piece("a.gguf", 0, GGUF[:100], size_bytes=len(GGUF)))
    assert store.pulls.cancel(pull_id).pull.state == PullState.CANCELLED
    assert names(store.layout.pull(pull_id)) == ["pull.json"]
    with pytest.raises(FailedPreconditionError) as refused:
        store.pulls.write(pull_id, ME, Piece("a.gguf", 100, GGUF[100:]))
    assert refused.value.code == "pull_ended"


def test_what_ended_is_forgotten_when_it_is_cancelled_once_more(store: Store) -> None:
    pull_id = fetched(store.pulls)
    store.pulls.publish(pull_id, ME)
    assert store.pulls.cancel(pull_id).pull.state == PullState.COMPLETED
    assert (store.pulls.all(), names(store.layout.pulls)) == ([], [])
    assert (store.layout.model(WANTED.model_id) / "model.json").exists()
    with pytest.raises(NotFoundError):
        store.pulls.cancel(pull_id)


def test_a_download_that_was_given_up_goes_on_with_what_is_here(store: Store) -> None:
    pull_id = begun(store.pulls)
    store.pulls.write(pull_id, ME, Piece("a.gguf", 0, GGUF[:100], size_bytes=len(GGUF)))
    store.pulls.fail(pull_id, ME, InvalidArgumentError("Cut.", code="download_cut_short"), discard=False)
    view = store.pulls.begin(WANTED)
    assert (view.pull.id, view.pull.state, view.received) == (pull_id, PullState.ACTIVE, {"a.gguf": 100})


def test_a_place_that_is_taken_meanwhile_is_left_as_it_is(store: Store) -> None:
    pull_id = fetched(store.pulls)
    folder = store.layout.model(WANTED.model_id)
    folder.mkdir(parents=True)
    (folder / "mine.gguf").write_bytes(b"mine")
    with pytest.raises(ConflictError):
        store.pulls.publish(pull_id, ME)
    assert names(folder) == ["mine.gguf"]
    with pytest.raises(ConflictError):
        store.pulls.begin(replace(WANTED, model_id=ModelId("org/a"), files=(PullFile("b.gguf", "http://host/b"),)))


def test_a_model_inside_of_a_model_is_refused(store: Store) -> None:
    store.pulls.publish(fetched(store.pulls), ME)
    with pytest.raises(ConflictError, match="inside of another model"):
        store.pulls.begin(replace(WANTED, model_id=ModelId("org/a/b")))


def test_records_that_cannot_be_read_are_removed_at_the_start(store: Store) -> None:
    pull_id = begun(store.pulls)
    (store.layout.pull(pull_id) / "pull.json").write_text("{")
    (store.layout.pulls / "stray").mkdir()
    again = reopened(store)
    try:
        assert again.pulls.all() == []
        assert names(again.layout.pulls) == []
    finally:
        again.close()


def test_those_that_ended_long_ago_are_forgotten(store: Store) -> None:
    for number in range(KEPT_ENDED + 3):
        store.pulls.cancel(begun(store.pulls, replace(WANTED, model_id=ModelId(f"m{number}"))))
    last = begun(store.pulls)
    assert len(store.pulls.all()) == KEPT_ENDED + 1
    assert store.pulls.all()[-1].pull.id == last
    with pytest.raises(NotFoundError):
        store.pulls.get(PullId("pull_unknown"))


def test_what_is_written_down_can_be_read_by_people(store: Store) -> None:
    pull_id = begun(store.pulls)
    written = json.loads((store.layout.pull(pull_id) / "pull.json").read_text())
    assert (written["model_id"], written["state"], written["files"][0]["sha256"]) == ("org/a", "active", SHA256)
