"""What a start makes of a janroot that a crash left: everything that was acknowledged, and a place to go on from."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

from jan.ids import MessageId, ThreadId
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, Role
from storage_service.store.store import Store
from tests.chaos import checks, oracle
from tests.chaos.history import History, State
from tests.chaos.oracle import Finding, Seen

FAILS = "a start succeeds"
PAGE = PageQuery(limit=100, descending=False)
AFTERWARDS = ["afterwards", "still here", ""]


def inspect(history: History, janroot: Path) -> list[Finding]:
    """Look at the files, start a store on them, look again, append to every thread, look again.

    Answers everything that must not be; `history` goes on from what is there then.
    """
    left = oracle.read(janroot)
    found = checks.check(history, left)
    try:
        after = _go_on(janroot, left, found)
    except Exception as error:  # noqa: BLE001  whatever it is, the point that shows it is to be told
        return [*found, Finding(FAILS, repr(error))]
    history.settle(after.objects)
    return found


def _go_on(janroot: Path, left: Seen, found: list[Finding]) -> Seen:
    """Open, compare, append, close; answers what lies there then."""
    store = Store.open(janroot)
    try:
        opened = oracle.read(janroot)
        found += checks.same(checks.PAST_RECOVERY, left.objects, opened.objects)
        found += checks.same(checks.DISAGREES, _threads(opened.objects), _told(store))
        expected = _append_everywhere(store, opened.objects)
    finally:
        store.close()
    after = oracle.read(janroot)
    found += checks.check_recovered(janroot, after)
    found += checks.same(checks.PAST_RECOVERY, expected, after.objects)
    return after


def _threads(objects: dict[str, State]) -> dict[str, State]:
    there = {key: state for key, state in objects.items() if state is not None and state.get("place") == "threads"}
    return {key: {"title": state["title"], "messages": state["messages"]} for key, state in there.items()}


def _told(store: Store) -> dict[str, State]:
    """The same as the store tells it."""
    told: dict[str, State] = {}
    for thread in store.threads.page(PAGE).items:
        messages = _all_messages(store, thread.id)
        said = [[item.id, item.content[0]["text"]["value"], item.metadata.get("edit", "")] for item in messages]
        told[thread.title.split()[0]] = {"title": thread.title, "messages": said}
    return told


def _all_messages(store: Store, thread_id: ThreadId) -> list[Message]:
    """Page by page."""
    page = store.messages.page(thread_id, PAGE)
    found = list(page.items)
    while page.has_more:
        page = store.messages.page(thread_id, replace(PAGE, after=found[-1].id))
        found += page.items
    return found


def _append_everywhere(store: Store, objects: dict[str, State]) -> dict[str, State]:
    """Say one more thing in each thread; answers what must lie there then."""
    expected = copy.deepcopy(objects)
    for thread in store.threads.page(PAGE).items:
        name, text, _ = AFTERWARDS
        content = [{"type": "text", "text": {"value": text, "annotations": []}}]
        holder = store.runs.active_id(thread.id) or ""
        store.append(thread.id, [Message(MessageId(name), thread.id, Role.USER, content, run_id=holder)])
        state = expected[thread.title.split()[0]]
        assert state is not None
        state["messages"] = [*state["messages"], AFTERWARDS]
    return expected
