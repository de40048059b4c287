"""A whole janroot as a zip: everything, and nothing that should stay at home."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jan.errors import FailedPreconditionError
from jan.ids import AssistantId, ThreadId, TrashId
from storage_service.store import yamlfile
from storage_service.store.exports import janroot as janroot_export
from storage_service.store.exports.alone import Alone, at_once
from storage_service.store.exports.janroot import Survey
from storage_service.store.exports.rules import Kind, Rules
from storage_service.store.store import Store
from tests.fixtures.jan_files import put
from tests.storage_service.conftest import BLANK
from tests.storage_service.store.exports.closed_files import refuse_to_open

Result = TypeVar("Result")

JAN = AssistantId("jan")
OPENAI = {"full_url": "https://api.example/v1", "api_key": "sk-canary"}
EXTENSION = [
    {"key": "api-key", "title": "Key", "controllerProps": {"value": "sk-canary", "placeholder": "sk"}},
    {"key": "max_tokens", "controllerProps": {"value": "2048"}},
]


def archive(store: Store, rules: Rules, alone: Alone = at_once) -> tuple[dict[str, bytes], dict[str, Any], int]:
    """All files of the archive, the manifest, and how far the announced length was off."""
    survey = Survey(store.layout, rules)
    list(survey.steps())
    about = janroot_export.manifest(rules, survey.summary, len(store.threads.order.ids()), 1_704_504_633_000)
    data = b"".join(janroot_export.pieces(store.layout, rules, about, alone, 1_704_504_633_000))
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        assert made.testzip() is None
        names = made.namelist()
        assert len(set(names)) == len(names)
        assert names[0] == f"{rules.kind.value}.json"
        files = {name: made.read(name) for name in names[1:] if not name.endswith("/")}
        return files, json.loads(made.read(names[0])), abs(len(data) - survey.summary.archive_bytes)


def fill(store: Store, janroot: Path) -> dict[str, bytes]:
    """A janroot with one of everything; answers what lies in it."""
    store.threads.create(JAN, BLANK)
    deleted = store.threads.create(JAN, BLANK)
    store.delete_thread(deleted.id)
    put(janroot / "threads/jan_1700120003.json", {"messages": []})
    put(janroot / "threads/notes.txt", "mine")
    put(janroot / "threads/sorted/jan_1700120004/thread.json", {})
    put(janroot / "models/demo/model.json", {"id": "demo", "settings": {}})
    put(janroot / "models/demo/demo.gguf", b"G" * 1000)
    put(janroot / "models/demo/tokenizer.json", {"a": 1})
    put(janroot / "engines/openai.json", OPENAI)
    put(janroot / "engines/nitro.json", {"ctx_len": 2048})
    put(janroot / "engines/broken.json", '{"api_key": "sk-canary"')
    put(janroot / "engines/keys.env", "KEY=sk-canary")
    put(janroot / "settings/@janhq/x/settings.json", EXTENSION)
    put(janroot / "logs/app.log", "sk-canary")
    put(janroot / "completions/chatcmpl-1.json", {"owner": "sk-canary"})
    put(janroot / "batches/batch_1.json", {"tenant": "key:sk-canary"})
    put(janroot / "vector_stores/vs_1/vector_store.json", {"name": "notes"})
    put(janroot / ".server/quarantine/torn", "half")
    put(janroot / ".server/trash/janroot-1704504633000-0123abcd/models/demo/demo.gguf", b"G" * 1000)
    put(janroot / ".server/converted/jan_1.json", "{}")
    (janroot / "themes/empty").mkdir(parents=True)
    (janroot / "models/linked").symlink_to("/etc")
    os.mkfifo(janroot / "files/pipe")
    return {
        str(path.relative_to(janroot)): path.read_bytes()
        for path in janroot.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_a_backup_holds_every_byte(store: Store, janroot: Path) -> None:
    lying = fill(store, janroot)
    files, about, off = archive(store, Rules(Kind.BACKUP, weights=True))
    own = (".server/lock", ".server/index/")
    assert files == {name: data for name, data in lying.items() if not name.startswith(own)}
    assert any(name.startswith(".server/trash/thread-") for name in files)
    left_out = [(found["path"], found["reason"]) for found in about["left_out"]]
    assert sorted(left_out) == [("files/pipe", "no_plain_file"), ("models/linked", "link")]
    assert (about["format"], about["version"], about["weights"], about["threads"]) == ("janroot-backup", 1, True, 3)
    assert (about["files"], about["bytes"]) == (len(files), sum(map(len, files.values())))
    assert off < 2000


def test_weights_are_left_out_and_named(store: Store, janroot: Path) -> None:
    fill(store, janroot)
    with (janroot / "models/demo/large").open("wb") as large:
        large.truncate(64 * 1024 * 1024)
    replaced = ".server/trash/janroot-1704504633000-0123abcd"
    for depth in (2, 3):
        put(janroot / (f"{replaced}/" * depth) / "models/demo/demo.gguf", b"G")
        put(janroot / (f"{replaced}/" * depth) / "files/kept.gguf", b"G")
    deleted = ".server/trash/model-1704504633000-0123abcd/vendor%2Fname"
    put(janroot / deleted / "model.json", {"format": "gguf"})
    put(janroot / deleted / "w.gguf", b"G")
    files, about, _ = archive(store, Rules(Kind.BACKUP))
    assert f"{deleted}/model.json" in files
    lying = {str(path.relative_to(janroot)) for path in janroot.rglob("*.gguf")}
    weights = lying - files.keys()
    assert weights == {f"{replaced}/" * depth + "models/demo/demo.gguf" for depth in range(4)} | {f"{deleted}/w.gguf"}
    assert {"path": "models/demo/demo.gguf", "reason": "weights", "bytes": 1000} in about["left_out"]
    assert {"path": "models/demo/large", "reason": "weights", "bytes": 64 * 1024 * 1024} in about["left_out"]
    assert about["left_out_count"] == len(about["left_out"]) == 8


def test_an_export_holds_no_key_and_nothing_of_the_server(store: Store, janroot: Path) -> None:
    lying = fill(store, janroot)
    files, about, _ = archive(store, Rules(Kind.EXPORT))
    assert b"sk-canary" not in b"".join(files.values())
    assert not [name for name in files if name.startswith((".server", "logs"))]
    assert json.loads(files["engines/openai.json"]) == OPENAI | {"api_key": ""}
    blanked = json.loads(files["settings/@janhq/x/settings.json"])
    assert [setting["controllerProps"]["value"] for setting in blanked] == ["", "2048"]
    assert blanked[0]["controllerProps"]["placeholder"] == "sk"
    for name in files.keys() - {"engines/openai.json", "settings/@janhq/x/settings.json"}:
        assert files[name] == lying[name]
    reasons = {found["path"]: found["reason"] for found in about["left_out"]}
    assert reasons["engines/broken.json"] == reasons["engines/keys.env"] == "may_hold_keys"
    assert {reasons[name] for name in ("logs", "themes", "completions", "batches")} == {"not_shared"}
    assert "vector_stores/vs_1/vector_store.json" in files
    assert about["format"] == "janroot-export"


DESCRIBED: dict[str, Any] = {
    "engines/auth.json": {"auth": {"tokens": {"access": "sk-canary"}}},
    "models/far/model.json": {
        "id": "far",
        "sources": [{"url": "https://me:sk-canary@host/v1"}],
        "settings": {"headers": {"X-Auth": "sk-canary"}, "max_tokens": "2048"},
    },
    "models/far/model.yml": "id: far\napi_key: sk-canary\nstop: [x]\n",
    "models/far/other.YAML": "# api_key: sk-canary\nid: far\n",
    "models/far/model.json.bak": {"api_key": "sk-canary"},
    "llamacpp/models/near/model.yml": "env:\n- {name: API_KEY, value: sk-canary}\n",
}
UNREADABLE = {
    "models/far/two.yml": "a: 1\n---\napi_key: sk-canary\n",
    "models/far/list.yml": "- sk-canary\n",
    "models/far/torn.json": '{"api_key": "sk-canary"',
    "models/far/long.yml": "api_key: sk-canary\n" + "#" * 1024 * 1024,
    "models/far/.env": "KEY=sk-canary",
    "engines/bare.json": '"sk-canary"',
}
KEPT = {
    "models/far/plain.yml": "# made by hand\nname:   far # and kept so\nmax_tokens: 2048\n",
    "models/far/special_tokens_map.json": '{"bos_token":"<s>","mask":"key: none"}',
    "models/far/model.safetensors.index.json": '{"weight_map":{"h.0.query_key_value.weight":"a"}}',
    "models/far/README.md": "my token",
}


def test_descriptions_of_models_are_read_for_keys(store: Store, janroot: Path) -> None:
    for name, text in (DESCRIBED | UNREADABLE | KEPT).items():
        put(janroot / name, text)
    files, about, off = archive(store, Rules(Kind.EXPORT))
    assert off < 2000
    assert b"sk-canary" not in b"".join(files.values())
    assert DESCRIBED.keys() <= files.keys()
    told = {found["path"] for found in about["left_out"] if found["reason"] == "may_hold_keys"}
    assert told == UNREADABLE.keys()
    assert {name: files[name].decode() for name in KEPT} == KEPT
    assert json.loads(files["models/far/model.json"])["settings"] == {"headers": {"X-Auth": ""}, "max_tokens": "2048"}
    assert yamlfile.parse(files["models/far/model.yml"]) == {"id": "far", "api_key": "", "stop": ["x"]}
    kept, _, _ = archive(store, Rules(Kind.BACKUP))
    assert kept["models/far/model.yml"] == (janroot / "models/far/model.yml").read_bytes()


@pytest.mark.parametrize("change", ["delete", "undo", "unflatten"])
def test_what_moves_meanwhile_is_found_all_the_same(store: Store, janroot: Path, change: str) -> None:
    kept = [store.threads.create(JAN, BLANK).id for _ in range(3)]
    put(janroot / "threads/jan_1800000000.json", {"messages": [{"role": "user", "content": "Hi"}]})
    if change == "undo":
        store.delete_thread(kept[2])
    moved = False

    def alone(thread_id: str, work: Callable[[], Result]) -> Result:
        nonlocal moved
        result = work()
        if not moved:
            moved = True
            match change:
                case "delete":
                    store.delete_thread(kept[1])
                case "undo":
                    [entry] = (janroot / ".server/trash").iterdir()
                    store.restore(TrashId(entry.name))
                case "unflatten":
                    store.threads.own_folder(ThreadId("jan_1800000000"))
        return result

    files, _, _ = archive(store, Rules(Kind.BACKUP), alone)
    found = {Path(name).parent.name for name in files if name.endswith("thread.json")}
    assert set(kept) <= found
    assert "jan_1800000000" in found | {Path(name).stem for name in files}


def test_names_that_no_archive_can_hold(store: Store, janroot: Path) -> None:
    put(janroot / "files/back\\slash", "x")
    (janroot / "files" / os.fsdecode(b"caf\xe9")).write_text("y")
    files, _, _ = archive(store, Rules(Kind.BACKUP))
    assert {"files/back%5Cslash": b"x", "files/caf%E9": b"y"}.items() <= files.items()


def test_a_folder_without_end_is_left_out(store: Store, janroot: Path) -> None:
    put(janroot / "files" / "/".join("x" * 70) / "end", "x")
    files, about, _ = archive(store, Rules(Kind.BACKUP))
    assert not [name for name in files if name.endswith("/end")]
    assert [found["reason"] for found in about["left_out"]] == ["too_deep"]


@pytest.mark.parametrize("name", ["messages.jsonl", "demo.gguf", "broken.json"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE])
def test_a_file_that_cannot_be_read_ends_the_archive_before_its_end(
    store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    fill(store, janroot)
    put(janroot / "threads/jan_1700120004/messages.jsonl", "{}")
    refuse_to_open(monkeypatch, name, number)
    with pytest.raises(OSError, match=name):
        archive(store, Rules(Kind.BACKUP, weights=True))


def test_a_closed_file_is_told_and_hides_no_other(store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(janroot / "threads/jan_1700120004/messages.jsonl", "{}")
    put(janroot / "threads/jan_1700120004/thread.json", {})
    really = os.access
    with monkeypatch.context() as closed:
        refuse_to_open(closed, "messages.jsonl", errno.EACCES)
        closed.setattr(
            os, "access", lambda path, *more, **named: path != "messages.jsonl" and really(path, *more, **named)
        )
        files, about, _ = archive(store, Rules(Kind.BACKUP))
    place = "threads/jan_1700120004/messages.jsonl"
    assert about["left_out"] == [{"path": place, "reason": "unreadable", "bytes": 2}]
    assert "threads/jan_1700120004/thread.json" in files
    assert place not in files


def test_a_file_that_was_closed_since_the_manifest_ends_the_archive(
    store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(janroot / "files/mine", "x")
    refuse_to_open(monkeypatch, "mine", errno.EACCES)
    with pytest.raises(FailedPreconditionError, match="files/mine"):
        archive(store, Rules(Kind.BACKUP))
