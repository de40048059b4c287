"""The index of a long messages.jsonl: kept beside it, and dropped at the slightest doubt."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from jan.errors import InvalidArgumentError
from jan.ids import MessageId, ThreadId
from storage_service.store import jsonl, messages
from storage_service.store.jsonl import Segment
from storage_service.store.message_index import MessageIndex
from storage_service.store.paging import PageQuery, cut
from storage_service.store.records import Message, Role, Thread
from storage_service.store.store import Store
from tests.storage_service.conftest import SteppingClock

ALL = PageQuery(limit=100, descending=False)


def line(number: int, **more: object) -> str:
    return json.dumps({"id": f"m{number}", "content": "x", "created": 1704504640000 + number} | more) + "\n"


def listed(store: Store, thread: Thread) -> list[str]:
    return [item.id for item in store.messages.page(thread.id, ALL).items]


@pytest.fixture
def file(janroot: Path, thread: Thread) -> Path:
    return janroot / "threads" / thread.id / "messages.jsonl"


@pytest.fixture
def sidecar(janroot: Path, thread: Thread) -> Path:
    return janroot / ".server" / "index" / "messages" / thread.id


@pytest.fixture(autouse=True)
def every_file_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_SIDECAR_BYTES", 1)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that a whole file is read."""
    seen: list[int] = []
    really = jsonl.segments

    def segments(fd: int) -> Iterator[Segment]:
        seen.append(fd)
        return really(fd)

    monkeypatch.setattr(jsonl, "segments", segments)
    return seen


def reopened(store: Store, janroot: Path) -> Store:
    store.close()
    return Store.open(janroot, clock=SteppingClock())


def test_a_kept_index_spares_the_reading(
    store: Store, thread: Thread, janroot: Path, file: Path, reads: list[int]
) -> None:
    file.write_text("".join(line(n, run_id="run_1" if n % 2 else "") for n in (3, 1, 2)) + "bad\n")
    assert listed(store, thread) == ["m1", "m2", "m3"]
    assert len(reads) == 1
    store = reopened(store, janroot)
    assert listed(store, thread) == ["m1", "m2", "m3"]
    odd = store.messages.page(thread.id, ALL, run_id="run_1").items
    assert [item.id for item in odd] == ["m1", "m3"]
    store.messages.append(thread.id, [Message(MessageId("new"), thread.id, Role.USER, [])])
    assert listed(store, thread) == ["m1", "m2", "m3", "new"]
    assert len(reads) == 1
    store = reopened(store, janroot)
    assert listed(store, thread) == ["m1", "m2", "m3", "new"]
    assert store.messages.get(thread.id, MessageId("m2")).id == "m2"
    assert len(reads) == 1
    store.close()


def appended(file: Path) -> None:
    with file.open("a") as out:
        out.write(line(9))


def edited_in_place(file: Path) -> None:
    """The same inode, size and time of modification: only the time of change tells."""
    before = file.stat()
    with file.open("r+") as out:
        out.write(line(9))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_text(line(9) + line(1))
    other.replace(file)


@pytest.mark.parametrize("change", [appended, edited_in_place, replaced])
def test_a_file_that_changed_meanwhile_is_read(
    store: Store, thread: Thread, janroot: Path, file: Path, change: Callable[[Path], None]
) -> None:
    file.write_text(line(0) + line(1))
    assert listed(store, thread) == ["m0", "m1"]
    store.close()
    change(file)
    store = Store.open(janroot)
    assert set(listed(store, thread)) == {json.loads(text)["id"] for text in file.read_text().splitlines()}
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"messages 1", b"messages 7"),
        lambda data: data[:-1] + b"?",
        lambda _: b"",
    ],
)
def test_a_sidecar_that_cannot_be_trusted_is_not(
    store: Store, thread: Thread, janroot: Path, sidecar: Path, damage: Callable[[bytes], bytes]
) -> None:
    file = janroot / "threads" / thread.id / "messages.jsonl"
    file.write_text(line(0) + line(1))
    listed(store, thread)
    store.close()
    sidecar.write_bytes(damage(sidecar.read_bytes()))
    store = Store.open(janroot)
    assert listed(store, thread) == ["m0", "m1"]
    store.close()


CURSORS = st.none() | st.sampled_from([f"m{number}" for number in range(13)])
RUNS = ["", "run_1", "run_2"]


@given(
    lines=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6), st.sampled_from(RUNS)), max_size=25),
    run_id=st.sampled_from([*RUNS, "run_9"]),
    query=st.builds(PageQuery, st.integers(1, 8), st.booleans(), CURSORS, CURSORS),
)
def test_pages_are_those_of_a_plain_list(lines: list[tuple[int, int, str]], run_id: str, query: PageQuery) -> None:
    """The rule: the later line of an id counts, in the earlier's place; equal times keep the file's order."""
    index = MessageIndex()
    model: dict[str, tuple[int, int, str]] = {}
    last_ms = 0
    for offset, (number, created_ms, run) in enumerate(lines):
        name = f"m{number}"
        index.put(MessageId(name), created_ms, run, Segment(offset, 1, None))
        first = model.get(name)
        model[name] = (first[0], first[1], run) if first else (created_ms or last_ms, len(model), run)
        last_ms = max(place[0] for place in model.values())
    everything = sorted(model, key=lambda name: model[name][:2])
    chosen = [name for name in everything if not run_id or model[name][2] == run_id]
    limit = query.limit

    def page() -> tuple[list[str], bool]:
        order = index.order(run_id)
        found = cut(order, query, lambda name: index.find(order, name))
        return [index.ids[ordinal] for ordinal in found.items], found.has_more

    travelled = chosen[::-1] if query.descending else chosen
    if {query.after, query.before} - {None} - set(chosen):
        with pytest.raises(InvalidArgumentError):
            page()
        return
    begin = travelled.index(query.after) + 1 if query.after else 0
    end = travelled.index(query.before) if query.before else len(travelled)
    window = travelled[begin:end]
    if query.before and not query.after:
        assert page() == (window[-limit:], len(window) > limit)
    else:
        assert page() == (window[:limit], len(window) > limit)


def test_walking_from_either_end_meets_every_message_once(store: Store, thread: Thread, file: Path) -> None:
    """While others write: new messages come at the end, so a walk from the newest meets what was there, once each."""
    file.write_text("".join(line(n) for n in range(57)))
    for descending in (True, False):
        met: list[str] = []
        after: str | None = None
        while True:
            page = store.messages.page(thread.id, PageQuery(limit=10, descending=descending, after=after))
            met += [item.id for item in page.items]
            if not page.has_more:
                break
            after = met[-1]
            if descending:
                store.messages.append(thread.id, [Message(MessageId(f"late{len(met)}"), ThreadId(""), Role.USER, [])])
        old = [name for name in met if name.startswith("m")]
        assert old == [f"m{n}" for n in (reversed(range(57)) if descending else range(57))]
        assert len(met) == len(set(met))
