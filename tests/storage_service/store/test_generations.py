"""Every generation of Jan's threads and assistants: listed, opened, continued; what is not changed keeps its bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jan.errors import FailedPreconditionError, InvalidArgumentError
from jan.ids import AssistantId, MessageId, RunId, ThreadId
from storage_service.store import flat
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, MessageStatus, Role, Run, RunStatus, Thread, ThreadAssistant
from storage_service.store.store import Store
from tests.fixtures import jan_folders as jan
from tests.fixtures.jan_files import put, snapshot
from tests.storage_service.conftest import SteppingClock

ALL = PageQuery(limit=100, descending=False)


def said(store: Store, thread_id: str) -> list[Message]:
    return list(store.messages.page(ThreadId(thread_id), ALL).items)


def texts(store: Store, thread_id: str) -> list[str]:
    return [part["text"]["value"] for message in said(store, thread_id) for part in message.content if "text" in part]


def reply(name: str = "msg_new", run_id: str = "") -> Message:
    return Message(MessageId(name), ThreadId(""), Role.ASSISTANT, jan.text("Continued."), run_id=run_id)


def answer(store: Store, thread_id: str) -> None:
    """What a run writes: its record, the question, the answer, its end."""
    run = Run(RunId("run_1"), ThreadId(thread_id), AssistantId("jan"), RunStatus.QUEUED, 1764000000000)
    question = Message(MessageId("msg_q"), ThreadId(thread_id), Role.USER, jan.text("And now?"))
    stored = store.create_run(run, [question])
    store.messages.append(ThreadId(thread_id), [reply("msg_a", "run_1")])
    store.runs.update(replace(stored, status=RunStatus.COMPLETED))


def changed_files(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def folder_thread(root: Path, name: str) -> str:
    thread_id: str = getattr(jan, name)(root)
    return thread_id


FOLDERS = ["v04_thread", "intermediate_thread", "cortex_thread", "v06_thread"]


@pytest.mark.parametrize("name", [*FOLDERS, "flat_thread"])
def test_looking_changes_no_byte(store: Store, janroot: Path, name: str) -> None:
    thread_id = folder_thread(janroot, name)
    before = snapshot(janroot)
    assert [thread.id for thread in store.threads.page(ALL).items] == [thread_id]
    said(store, thread_id)
    store.report(100)
    store.runs.page(ThreadId(thread_id), ALL)
    assert snapshot(janroot) == before


@pytest.mark.parametrize("name", FOLDERS)
def test_continuing_adds_lines_and_leaves_every_byte_before_them(store: Store, janroot: Path, name: str) -> None:
    thread_id = folder_thread(janroot, name)
    before, heard = snapshot(janroot), texts(store, thread_id)
    answer(store, thread_id)
    after, place = snapshot(janroot), f"threads/{thread_id}"
    assert changed_files(before, after) == {f"{place}/messages.jsonl", f"{place}/runs.jsonl"}
    assert after[f"{place}/messages.jsonl"].startswith(before.get(f"{place}/messages.jsonl", b""))
    assert texts(store, thread_id) == [*heard, "And now?", "Continued."]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_new_title_changes_the_title_and_nothing_else(store: Store, janroot: Path, name: str) -> None:
    thread_id = folder_thread(janroot, name)
    path = janroot / "threads" / thread_id / "thread.json"
    before, files = json.loads(path.read_text()), snapshot(janroot)
    store.threads.change(ThreadId(thread_id), lambda thread: replace(thread, title="New"))
    after = json.loads(path.read_text())
    touched = {"title", "updated"} | ({"metadata"} if name == "cortex_thread" else set())
    touched |= {"summary"} if name == "intermediate_thread" else set()
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == touched
    assert store.threads.get(ThreadId(thread_id)).title == "New"
    assert changed_files(files, snapshot(janroot)) == {f"threads/{thread_id}/thread.json"}
    if name == "cortex_thread":
        assert after["metadata"] == {"title": "New", "lastMessage": "Hello"}
    store.threads.change(ThreadId(thread_id), lambda thread: replace(thread, title=""))
    assert store.threads.get(ThreadId(thread_id)).title == ""


class TestJan04:
    def test_thread(self, store: Store, janroot: Path) -> None:
        thread = store.threads.get(ThreadId(jan.v04_thread(janroot)))
        assert (thread.title, thread.created_ms) == ("Trip budget", 1704504633123)
        [assistant] = thread.assistants
        assert (assistant.assistant_id, assistant.model_id) == ("jan", "demo-7b-q4")
        assert assistant.settings == {"ctx_len": 4096, "llama_model_path": "demo-7b-q4.gguf"}

    def test_images_and_documents_are_openais_parts(self, store: Store, janroot: Path) -> None:
        messages = said(store, jan.v04_thread(janroot))
        look = jan.text("Look at this")
        image, document, inline_image, inline_document, failed, system = messages[2:]
        assert image.content == [*look, {"type": "image_file", "image_file": {"file_id": jan.IMAGE_NAME}}]
        assert document.content == look
        assert document.attachments == [{"file_id": jan.PDF_NAME, "tools": [{"type": "file_search"}]}]
        assert inline_image.content == [*look, {"type": "image_url", "image_url": {"url": jan.PNG_URL}}]
        file = {"filename": "plan.pdf", "file_data": jan.PDF_URL}
        assert inline_document.content == [*look, {"type": "file", "file": file}]
        assert inline_document.attachments == []
        assert (failed.status, failed.incomplete_reason) == (MessageStatus.INCOMPLETE, "run_failed")
        assert system.role is Role.SYSTEM

    def test_a_changed_message_keeps_jans_own_form(self, store: Store, janroot: Path) -> None:
        thread_id = jan.v04_thread(janroot)
        path = janroot / "threads" / thread_id / "messages.jsonl"
        before = path.read_text().splitlines()
        name = MessageId(json.loads(before[2])["id"])
        store.messages.change(ThreadId(thread_id), name, lambda message: replace(message, metadata={"seen": "yes"}))
        after = path.read_text().splitlines()
        assert after[:2] + after[3:] == before[:2] + before[3:]
        changed = json.loads(after[2])
        assert changed == json.loads(before[2]) | {"metadata": {"seen": "yes"}, "updated": changed["updated"]}


class TestFlat:
    """A file of the draft of 2023-11-17 is a thread, and becomes a folder when it is changed."""

    def test_opened_in_place(self, store: Store, janroot: Path) -> None:
        thread_id = jan.flat_thread(janroot)
        thread = store.threads.get(ThreadId(thread_id))
        assert (thread.title, thread.created_ms) == ("fractions", 1700120003000)
        model = ThreadAssistant(AssistantId("homework_helper"), model_id="demo-7b-q4", parameters={"temperature": 0.2})
        assert thread.assistants == (model,)
        question, reply = said(store, thread_id)
        assert (question.id, question.role, question.created_ms) == ("msg_0", Role.USER, 1700120003000)
        assert (reply.role, reply.content) == (Role.ASSISTANT, jan.text("A part of a whole."))
        assert store.messages.get(ThreadId(thread_id), MessageId("msg_1")) == reply

    def test_continued_it_is_a_folder_and_the_file_is_kept(self, store: Store, janroot: Path) -> None:
        thread_id = jan.flat_thread(janroot)
        flat = janroot / "threads" / f"{thread_id}.json"
        original, opened, before = flat.read_bytes(), store.threads.get(ThreadId(thread_id)), said(store, thread_id)
        answer(store, thread_id)
        assert not flat.exists()
        assert (janroot / ".server/converted" / flat.name).read_bytes() == original
        assert said(store, thread_id)[:2] == before
        assert texts(store, thread_id)[2:] == ["And now?", "Continued."]
        thread = store.threads.get(ThreadId(thread_id))
        assert replace(thread, updated_ms=0, revision="") == replace(opened, updated_ms=0, revision="")
        assert [item.id for item in store.threads.page(ALL).items] == [thread_id]
        written = json.loads((janroot / "threads" / thread_id / "thread.json").read_text())
        assert written["draft_only"] == {"kept": True}
        assert written["assistants"][0]["assistant_id"] == "homework_helper"
        lines = (janroot / "threads" / thread_id / "messages.jsonl").read_text().splitlines()
        assert [json.loads(line)["thread_id"] for line in lines] == [thread_id] * 4

    @pytest.mark.parametrize("change", ["title", "message", "delete"])
    def test_every_change_converts(self, store: Store, janroot: Path, change: str) -> None:
        thread_id = ThreadId(jan.flat_thread(janroot))
        if change == "title":
            store.threads.change(thread_id, lambda thread: replace(thread, title="New"))
            assert store.threads.get(thread_id).title == "New"
        elif change == "message":
            store.messages.delete(thread_id, MessageId("msg_0"))
            assert [message.id for message in said(store, thread_id)] == ["msg_1"]
        else:
            store.delete_thread(thread_id)
            assert store.threads.page(ALL).items == ()
            assert [*(janroot / ".server/trash").rglob(f"{thread_id}/messages.jsonl")]
        assert not (janroot / "threads" / f"{thread_id}.json").exists()
        assert (janroot / ".server/converted" / f"{thread_id}.json").is_file()

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ({}, []),
            ({"messages": ["Hi", "Hello!"]}, [(Role.USER, "Hi"), (Role.ASSISTANT, "Hello!")]),
            ({"messages": [{"role": "system", "content": "Be kind."}, 7, None]}, [(Role.SYSTEM, "Be kind.")]),
            ({"messages": "nonsense", "models": 3, "metadata": []}, []),
            ({"messages": [{"id": "../x", "content": "ok"}] * 2}, [(Role.USER, "ok")] * 2),
        ],
    )
    def test_whatever_is_missing(
        self, store: Store, janroot: Path, content: dict[str, Any], expected: list[tuple[Role, str]]
    ) -> None:
        thread_id = "jan_1700123404"
        path = put(janroot / "threads" / f"{thread_id}.json", content)
        for _ in range(2):
            found = said(store, thread_id)
            assert [(item.role, item.content[0]["text"]["value"]) for item in found[: len(expected)]] == expected
            store.messages.append(ThreadId(thread_id), [reply()])
        assert len(said(store, thread_id)) == len(expected) + 1
        assert json.loads((janroot / ".server/converted" / path.name).read_text()) == content

    def test_a_time_that_lost_a_digit_is_not_believed(self, store: Store, janroot: Path) -> None:
        thread_id = jan.flat_thread(janroot, "homework_helper_700120003")
        made = (janroot / "threads" / f"{thread_id}.json").stat().st_mtime_ns // 1_000_000
        thread = store.threads.get(ThreadId(thread_id))
        assert (thread.created_ms, thread.assistants[0].assistant_id) == (made, "homework_helper")

    def test_an_unreadable_file_is_an_empty_thread_and_kept(self, store: Store, janroot: Path) -> None:
        put(janroot / "threads/jan_1700123404.json", "{ half a flat th")
        assert said(store, "jan_1700123404") == []
        store.messages.append(ThreadId("jan_1700123404"), [reply()])
        assert (janroot / ".server/converted/jan_1700123404.json").read_text() == "{ half a flat th"

    def test_a_conversion_that_was_cut_short_is_finished_at_the_next_start(
        self, store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        thread_id = jan.flat_thread(janroot)
        flat = janroot / "threads" / f"{thread_id}.json"

        def killed(path: Path, kept: Path) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("storage_service.store.flat._retire", killed)
            with pytest.raises(KeyboardInterrupt):
                store.threads.own_folder(ThreadId(thread_id))
        assert flat.exists()
        assert len(said(store, thread_id)) == 2
        store.close()
        reopened = Store.open(janroot)
        assert not flat.exists()
        assert [thread.id for thread in reopened.threads.page(ALL).items] == [thread_id]
        reopened.close()

    def test_its_name_is_not_given_again(self, store: Store, janroot: Path, clock: SteppingClock) -> None:
        clock.now_ms = 1700123403000
        jan.flat_thread(janroot, "jan_1700123404")
        made = store.threads.create(AssistantId("jan"), Thread(ThreadId(""), 0, 0))
        assert made.id == "jan_1700123404-2"

    def test_a_reader_who_meets_the_conversion_still_finds_it(
        self, store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        thread_id = ThreadId(jan.flat_thread(janroot))
        real = flat.is_flat

        def converted_meanwhile(path: Path) -> bool:
            monkeypatch.setattr(flat, "is_flat", real)
            store.threads.own_folder(thread_id)
            return real(path)

        monkeypatch.setattr(flat, "is_flat", converted_meanwhile)
        assert store.threads.get(thread_id).title == "fractions"


class TestNested:
    """A thread in a folder that its user made."""

    @pytest.fixture
    def folder(self, store: Store, janroot: Path) -> Path:
        jan.v04_thread(janroot)
        (janroot / "threads/My chats/2024").mkdir(parents=True)
        return (janroot / "threads" / jan.V04_THREAD).rename(janroot / "threads/My chats/2024" / jan.V04_THREAD)

    def test_listed_opened_and_continued_where_it_is(self, store: Store, folder: Path) -> None:
        assert [thread.title for thread in store.threads.page(ALL).items] == ["Trip budget"]
        before = (folder / "messages.jsonl").read_bytes()
        answer(store, folder.name)
        assert (folder / "messages.jsonl").read_bytes().startswith(before)
        assert texts(store, folder.name)[-2:] == ["And now?", "Continued."]

    def test_deleted(self, store: Store, janroot: Path, folder: Path) -> None:
        assert len(store.threads.page(ALL).items) == 1
        store.delete_thread(ThreadId(folder.name))
        assert store.threads.page(ALL).items == ()
        assert [*(janroot / ".server/trash").rglob(f"{folder.name}/files/{jan.IMAGE_NAME}")]

    def test_one_directly_in_threads_goes_before(self, store: Store, janroot: Path, folder: Path) -> None:
        put(janroot / "threads" / folder.name / "thread.json", {"title": "Outer"})
        assert [thread.title for thread in store.threads.page(ALL).items] == ["Outer"]

    def test_no_link_leads_to_it(self, store: Store, janroot: Path, folder: Path) -> None:
        assert len(store.threads.page(ALL).items) == 1
        home = janroot / "threads/My chats"
        home.rename(janroot / "elsewhere")
        home.symlink_to(janroot / "elsewhere")
        with pytest.raises(InvalidArgumentError):
            store.threads.get(ThreadId(folder.name))
        assert store.threads.page(ALL).items == ()


class TestIntermediate:
    """A folder whose thread.json holds what later forms keep elsewhere."""

    def test_opened(self, store: Store, janroot: Path) -> None:
        thread = store.threads.get(ThreadId(jan.intermediate_thread(janroot)))
        assert (thread.title, thread.created_ms) == ("funny physics joke", 1700400000123)
        assert thread.assistants == (
            ThreadAssistant(
                AssistantId("jan"),
                "",
                "",
                model_id="demo-7b-q4",
                settings={"ctx_len": 2048},
                parameters={"temperature": 0.3},
            ),
        )

    def test_its_messages_get_a_file_when_there_are_more(self, store: Store, janroot: Path) -> None:
        thread_id = jan.intermediate_thread(janroot, [{"role": "user", "content": "Tell me"}, {"role": "x"}])
        path = janroot / "threads" / thread_id / "thread.json"
        before, first = path.read_bytes(), said(store, thread_id)
        assert [message.id for message in first] == ["msg_0", "msg_1"]
        store.messages.append(ThreadId(thread_id), [reply()])
        assert path.read_bytes() == before
        assert said(store, thread_id)[:2] == first
        assert [message.id for message in said(store, thread_id)] == ["msg_0", "msg_1", "msg_new"]


class TestCortex:
    def test_opened(self, store: Store, janroot: Path) -> None:
        thread_id = jan.cortex_thread(janroot)
        thread = store.threads.get(ThreadId(thread_id))
        assert (thread.title, thread.created_ms) == ("Cortex talk", 1737000000000)
        assert (thread.assistants[0].assistant_id, thread.assistants[0].assistant_name) == ("jan", "Jan")
        question, cut = said(store, thread_id)
        assert question.content[1]["image_url"]["url"] == jan.PNG_URL
        assert question.attachments == [{"file_id": "plan.pdf", "tools": [{"type": "file_search"}]}]
        assert (question.created_ms, question.completed_ms) == (1737000001000, 1737000002000)
        assert (cut.status, cut.incomplete_reason, cut.run_id) == (MessageStatus.INCOMPLETE, "max_tokens", "run_old")


class TestJan06:
    def test_opened(self, store: Store, janroot: Path) -> None:
        thread_id = jan.v06_thread(janroot)
        thread = store.threads.get(ThreadId(thread_id))
        assert (thread.title, thread.created_ms) == ("Trip budget", jan.V06_FIRST_MS)
        assert thread.assistants[0].model_id == "org/demo"
        question, answered, tool = said(store, thread_id)
        assert (question.role, tool.role, question.completed_ms) == (Role.USER, Role.TOOL, None)
        assert answered.content == [jan.REASONING, jan.CALL, *jan.text("Sunny.")]

    def test_another_model_is_where_jan_looks_for_it(self, store: Store, janroot: Path) -> None:
        thread_id = ThreadId(jan.v06_thread(janroot))
        override = ThreadAssistant(AssistantId("jan"), "Jan the second", model_id="demo")
        store.threads.change(thread_id, lambda thread: replace(thread, assistants=(override,)))
        written = json.loads((janroot / "threads" / thread_id / "thread.json").read_text())
        [assistant] = written["assistants"]
        assert (assistant["id"], assistant["name"], assistant["avatar"]) == ("jan", "Jan the second", "👋")
        assert assistant["model"]["id"] == "demo"
        assert written["model"] == {"id": "demo", "provider": "llamacpp"}
        assert written["created"] == 1752200101.2


class TestAssistants:
    def test_every_generation_is_listed(self, store: Store, janroot: Path) -> None:
        jan.every_assistant(janroot)
        before = snapshot(janroot)
        found = {assistant.id: assistant for assistant in store.assistants.page(ALL).items}
        assert set(found) == {"jan", "shakespeare", "empty", "math", "reference", "emoji"}
        models = [found[AssistantId(name)].model for name in ("shakespeare", "empty", "math", "reference", "emoji")]
        assert models == ["demo-7b-q4", "*", "demo-3b-q4", "gpt-4", "*"]
        emoji = found[AssistantId("emoji")]
        assert (emoji.avatar, emoji.created_ms) == ("👋", 1752200000250)
        assert emoji.parameters == {"stream": True, "temperature": 0.7}
        assert snapshot(janroot) == before

    @pytest.mark.parametrize("name", ["shakespeare", "math", "reference", "emoji"])
    def test_a_change_keeps_every_other_key(self, store: Store, janroot: Path, name: str) -> None:
        jan.every_assistant(janroot)
        folder = janroot / "assistants" / name
        source = folder / ("shakespeare.json" if name == "shakespeare" else "assistant.json")
        before, files = json.loads(source.read_text()), snapshot(janroot)
        store.assistants.change(AssistantId(name), lambda assistant: replace(assistant, instructions="New."))
        assert json.loads((folder / "assistant.json").read_text()) == before | {"instructions": "New."}
        assert changed_files(files, snapshot(janroot)) == {f"assistants/{name}/assistant.json"}
        assert store.assistants.get(AssistantId(name)).instructions == "New."


def test_a_whole_root_of_jan_04(janroot: Path) -> None:
    jan.v04_root(janroot)
    before = snapshot(janroot)
    store = Store.open(janroot)
    assert [assistant.id for assistant in store.assistants.page(ALL).items] == ["jan"]
    assert [thread.id for thread in store.threads.page(ALL).items] == [jan.V04_THREAD]
    assert [model.id for model in store.models.all()] == ["demo-3b-q4", "demo-7b-q4", "gpt-4"]
    store.close()
    assert snapshot(janroot) == before


def test_a_thread_file_that_is_a_link_is_not_replaced(store: Store, janroot: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "outside.json", {"title": "Outside"})
    (janroot / "threads/jan_1705000010").mkdir()
    (janroot / "threads/jan_1705000010/thread.json").symlink_to(outside)
    assert store.threads.get(ThreadId("jan_1705000010")).title == ""
    with pytest.raises(FailedPreconditionError):
        store.threads.change(ThreadId("jan_1705000010"), lambda thread: replace(thread, title="New"))
