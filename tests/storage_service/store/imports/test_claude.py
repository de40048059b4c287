"""Claude's conversations become threads: blocks as parts, pasted texts, and one branch of several."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from storage_service.store.imports.conversations import ORIGINAL_FILE
from tests.fixtures.exports import CLAUDE_ID, NO_PARENT, block, claude, said
from tests.storage_service.store.imports.reading import as_read, lines, losses, only, parts_as_read


def test_a_plain_conversation_is_a_thread_without_losses() -> None:
    found = only(
        claude(said("q1", "human", block("What does Rome cost?")), said("a1", "assistant", block("900 EUR."), minute=1))
    )
    assert (found.id, found.title, found.notes, found.files) == (f"claude_{CLAUDE_ID}", "Trip budget", (), ())
    assert (found.created_ms, found.updated_ms) == (1_735_999_220_250, 1_736_001_000_000)
    assert lines(found) == [("user", ["What does Rome cost?"]), ("assistant", ["900 EUR."])]
    answer = found.messages[1]
    assert (answer.id, answer.created_ms, answer.completed_ms) == ("a1", 1_735_999_280_250, 1_735_999_285_000)
    assert found.metadata == {"imported_from": "claude", "source_id": CLAUDE_ID}
    assert [as_read(message) for message in found.messages] == list(found.messages)


def test_blocks_of_every_kind_are_shown_in_order() -> None:
    citation = {"uuid": "c", "start_index": 0, "end_index": 4, "details": {"type": "web", "url": "https://x.example"}}
    found = only(
        claude(
            said(
                "a1",
                "assistant",
                {"type": "thinking", "thinking": "Hm.", "summaries": [{"summary": "Hm"}], "cut_off": False},
                {"type": "tool_use", "name": "web_search", "input": {"query": "rome"}},
                {"type": "tool_result", "name": "web_search", "content": [{"type": "text", "text": "cheap"}]},
                {
                    "type": "tool_use",
                    "name": "artifacts",
                    "input": {"command": "create", "title": "Sum", "language": "python", "content": "print(2)"},
                },
                {"type": "tool_result", "content": "OK"},
                {"type": "token_budget"},
                block("Done.") | {"citations": [citation]},
            )
        )
    )
    assert lines(found) == [
        (
            "assistant",
            [
                "<reasoning>",
                'web_search\n\n```\n{\n  "query": "rome"\n}\n```',
                "```\ncheap\n```",
                "artifacts: Sum\n\n```python\nprint(2)\n```",
                "```\nOK\n```",
                "Done.",
            ],
        )
    ]
    assert found.messages[0].metadata == {"citations": [{"url": "https://x.example", "title": ""}]}
    assert found.notes == ()


def test_only_the_latest_branch_is_shown_and_the_others_are_kept() -> None:
    export = claude(
        said("q1", "human", block("Hi"), parent_message_uuid=NO_PARENT),
        said("a1", "assistant", block("First"), minute=1, parent_message_uuid="q1"),
        said("a2", "assistant", block("Second"), minute=2, parent_message_uuid="q1"),
        said("q2", "human", block("Thanks"), minute=3, parent_message_uuid="a2"),
    )
    found = only(export)
    assert lines(found) == [("user", ["Hi"]), ("assistant", ["Second"]), ("user", ["Thanks"])]
    assert losses(found) == {"other_branches": 1}
    [original] = found.files
    assert (original.name, orjson.loads(original.data)) == (ORIGINAL_FILE, export)
    assert lines(only(export | {"current_leaf_message_uuid": "a1"})) == [("user", ["Hi"]), ("assistant", ["First"])]


def test_an_edited_first_message_is_a_branch_as_well() -> None:
    found = only(
        claude(
            said("q1", "human", block("Hi"), parent_message_uuid=NO_PARENT),
            said("q2", "human", block("Hello"), minute=1, parent_message_uuid=NO_PARENT),
        )
    )
    assert (lines(found), losses(found)) == ([("user", ["Hello"])], {"other_branches": 1})


def test_pasted_texts_are_said_and_very_long_ones_are_files() -> None:
    pasted = {"file_name": "paste.txt", "file_type": "txt", "file_size": 5, "extracted_content": "a `b`\n```c"}
    book = {"file_name": "My Book.pdf", "file_type": "pdf", "extracted_content": "x" * 300_000}
    found = only(
        claude(
            said("q1", "human", block("Read"), attachments=[pasted, book], files=[{"file_name": "My Book.pdf"}]),
        )
    )
    assert lines(found) == [("user", ["paste.txt\n\n````\na `b`\n```c\n````", "Read"])]
    [file] = found.files
    assert file.name.startswith("text-")
    assert file.name.endswith("-My_Book_pdf.txt")
    assert file.data == b"x" * 300_000
    assert [item["file_id"] for item in found.messages[0].attachments] == [file.name]
    assert found.notes == ()


def test_files_are_found_by_their_uuid_or_missed() -> None:
    uuid = "0a1b2c3d-1111-4222-8333-444455556666"
    files = [{"file_name": "photo.JPG", "file_uuid": uuid}, {"file_name": "gone.png"}]
    found = only(claude(said("q1", "human", block("Look"), files=files)), names=(f"data/{uuid}.jpg", "users.json"))
    assert parts_as_read(found.messages[0]) == ["image_file", "text", "text"]
    assert {file.name: file.entry for file in found.files} == {
        f"{uuid}-photo.jpg": f"data/{uuid}.jpg",
        ORIGINAL_FILE: "",
    }
    assert losses(found) == {"missing_file": 1}


def test_messages_of_before_the_blocks_have_a_text_only() -> None:
    old = {"uuid": "q1", "text": "Hi", "sender": "human", "created_at": "2023-08-01T10:00:00+02:00"}
    found = only(claude(old))
    assert lines(found) == [("user", ["Hi"])]
    assert found.messages[0].created_ms == 1_690_876_800_000


@pytest.mark.parametrize(
    "time", ["", None, 7.5e300, "yesterday", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", ["2025"], True]
)
def test_times_that_are_none_do_no_harm(time: Any) -> None:
    message = said("q1", "human", block("Hi"), created_at=time, updated_at=time)
    found = only(claude(message, created_at=time, updated_at="2025-01-04T14:13:20Z"))
    assert found.created_ms == 1_736_000_000_000
    assert found.messages[0].created_ms == 1_736_000_000_000


def test_messages_without_or_with_the_same_uuid_stay_apart() -> None:
    messages: list[Any] = [
        said("", "human", block("a")),
        said("x", "assistant", block("b")),
        said("x", "human", block("c")),
        7,
    ]
    found = only(claude(*messages))
    assert [shown for _, shown in lines(found)] == [["a"], ["b"], ["c"]]
    assert len({message.id for message in found.messages}) == 3
    assert losses(found) == {"unknown_content": 1}


def test_what_is_not_known_is_read_as_far_as_it_has_a_text() -> None:
    found = only(claude(said("a1", "assistant", {"type": "voice_note", "text": "Hm"}, {"type": "hologram", "x": 1})))
    assert (lines(found), losses(found)) == ([("assistant", ["Hm"])], {"unknown_content": 1})


def test_long_results_of_tools_are_shortened() -> None:
    found = only(claude(said("a1", "assistant", {"type": "tool_result", "content": "x" * 30_000}, block("So."))))
    assert len(lines(found)[0][1][0]) < 20_100
    assert losses(found) == {"shortened": 1}


def test_an_empty_conversation_is_an_empty_thread() -> None:
    found = only(claude(name=""))
    assert (found.title, found.messages, found.notes) == ("", (), ())
