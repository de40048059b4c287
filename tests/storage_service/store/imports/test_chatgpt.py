"""ChatGPT's conversations become threads: what was shown, in order, and the original where something was not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from storage_service.store.imports.conversations import ORIGINAL_FILE
from storage_service.store.records import MessageStatus, Role
from tests.fixtures.exports import CHATGPT_ID, chatgpt, image, linear, node, text
from tests.storage_service.store.imports.reading import MADE_MS, as_read, lines, losses, only, parts_as_read

PNG = "file-AbCd1234-holiday photo.png"


def test_a_plain_conversation_is_a_thread_without_losses() -> None:
    found = only(
        chatgpt(
            *linear(
                node("a", None, "system", text(""), weight=0.0),
                node("b", None, content=text("What does Rome cost?"), second=1),
                node("c", None, "assistant", text("900 EUR."), second=4, metadata={"model_slug": "gpt-4o"}),
            )
        )
    )
    assert (found.id, found.title, found.notes, found.files) == (f"chatgpt_{CHATGPT_ID}", "Trip budget", (), ())
    assert (found.created_ms, found.updated_ms) == (1_736_000_000_250, 1_736_000_600_500)
    assert lines(found) == [("user", ["What does Rome cost?"]), ("assistant", ["900 EUR."])]
    question, answer = found.messages
    assert (question.id, question.created_ms, answer.created_ms) == ("b", 1_736_000_001_250, 1_736_000_004_250)
    assert answer.metadata == {"model_slug": "gpt-4o"}
    assert found.metadata == {"imported_from": "chatgpt", "source_id": CHATGPT_ID, "model_slug": "gpt-4o"}
    assert [as_read(message) for message in found.messages] == list(found.messages)


def test_only_the_chosen_branch_is_shown_and_the_others_are_kept() -> None:
    export = chatgpt(
        node("q", "client-created-root"),
        node("first", "q", "assistant"),
        node("more", "first"),
        node("again", "q", "assistant", second=9),
        node("thanks", "again", second=10),
    )
    found = only(export)
    assert lines(found) == [("user", ["q says"]), ("assistant", ["again says"]), ("user", ["thanks says"])]
    assert losses(found) == {"other_branches": 2}
    [original] = found.files
    assert (original.name, orjson.loads(original.data)) == (ORIGINAL_FILE, export)


def test_all_that_was_done_for_an_answer_is_one_message() -> None:
    found = only(
        chatgpt(
            *linear(
                node("q", None),
                node(
                    "think",
                    None,
                    "assistant",
                    {"content_type": "thoughts", "thoughts": [{"summary": "Sum", "content": "Add them."}]},
                ),
                node("recap", None, "assistant", {"content_type": "reasoning_recap", "content": "Thought for 3s"}),
                node(
                    "code",
                    None,
                    "assistant",
                    {"content_type": "code", "language": "python", "text": "print(1 + 1)"},
                    recipient="python",
                ),
                node("out", None, "tool", {"content_type": "execution_output", "text": "2"}),
                node("page", None, "tool", {"content_type": "tether_browsing_display", "result": "found"}),
                node(
                    "quote",
                    None,
                    "tool",
                    {"content_type": "tether_quote", "title": "T", "url": "https://x.example", "text": "one\ntwo"},
                ),
                node("fail", None, "tool", {"content_type": "system_error", "name": "Error", "text": "late"}),
                node("a", None, "assistant", text("It is 2."), second=5),
            )
        )
    )
    assert lines(found) == [
        ("user", ["q says"]),
        (
            "assistant",
            [
                "<reasoning>",
                "<reasoning>",
                "```python\nprint(1 + 1)\n```",
                "```\n2\n```",
                "```\nfound\n```",
                "T https://x.example\n> one\n> two",
                "```\nError: late\n```",
                "It is 2.",
            ],
        ),
    ]
    answer = found.messages[1]
    assert (answer.id, answer.content[0]["text"]["value"]) == ("a", "Sum\n\nAdd them.")
    assert (answer.created_ms, answer.completed_ms) == (1_736_000_000_250, 1_736_000_005_250)
    assert found.notes == ()


def test_images_and_documents_are_found_in_the_archive() -> None:
    attachments = [
        {"id": "file-AbCd1234", "name": "holiday photo.png", "mimeType": "image/png"},
        {"id": "file-Ef5", "name": "Mein Plan (neu).pdf", "mime_type": "application/pdf"},
        {"id": "file-Gone", "name": "lost.txt"},
    ]
    generated = "sediment://file_00000000d9d8?shared_conversation_id=1"
    found = only(
        chatgpt(
            *linear(
                node(
                    "q",
                    None,
                    content=text(image("file-service://file-AbCd1234"), "See this"),
                    metadata={"attachments": attachments},
                ),
                node("made", None, "tool", text(image(generated))),
                node("a", None, "assistant", text("Here.")),
            )
        ),
        names=(PNG, "user-1/file_00000000d9d8-1f2e.dat", "file-Ef5-Mein Plan (neu).pdf", "conversations.json"),
    )
    question, answer = found.messages
    path = f"threads/{found.id}/files/file-AbCd1234.png"
    assert question.content[0] == {"type": "image", "text": {"value": "", "annotations": [path]}}
    assert parts_as_read(question) == ["image_file", "text", "text"]
    assert as_read(question).content[0] == {"type": "image_file", "image_file": {"file_id": "file-AbCd1234.png"}}
    assert [item["file_id"] for item in question.attachments] == ["file-Ef5-Mein_Plan_neu.pdf"]
    assert as_read(answer).content[0]["image_file"]["file_id"] == "file_00000000d9d8"
    assert lines(found)[0][1][2] == "[a file that is not in the export: lost.txt]"
    assert losses(found) == {"missing_file": 1}
    assert {file.name: file.entry for file in found.files} == {
        "file-AbCd1234.png": PNG,
        "file-Ef5-Mein_Plan_neu.pdf": "file-Ef5-Mein Plan (neu).pdf",
        "file_00000000d9d8": "user-1/file_00000000d9d8-1f2e.dat",
        ORIGINAL_FILE: "",
    }


def test_voice_is_its_words_and_its_recording() -> None:
    parts = [
        {"content_type": "audio_transcription", "text": "Hello there", "direction": "in"},
        {
            "content_type": "real_time_user_audio_video_asset_pointer",
            "audio_asset_pointer": {"content_type": "audio_asset_pointer", "asset_pointer": "sediment://file_00ab"},
        },
    ]
    found = only(chatgpt(*linear(node("q", None, content=text(*parts)))), names=("x/audio/file_00ab-1.wav",))
    assert lines(found) == [("user", ["Hello there"])]
    assert found.messages[0].attachments[0]["file_id"] == "file_00ab.wav"


def test_what_was_hidden_is_kept_in_the_original_only() -> None:
    found = only(
        chatgpt(
            *linear(
                node("me", None, content={"content_type": "user_editable_context", "user_profile": "I am Ada"}),
                node("flag", None, "system", metadata={"is_visually_hidden_from_conversation": True}),
                node("tool", None, "tool", text("a whole file"), weight=0.0),
                node("mine", None, "system", text(""), metadata={"is_user_system_message": True}),
                node("shown", None, "system", text("You are a pirate.")),
                node("q", None),
            )
        )
    )
    assert lines(found) == [("system", ["You are a pirate."]), ("user", ["q says"])]
    assert losses(found) == {"hidden_messages": 3}


def test_citations_are_pages_in_the_metadata_and_leave_no_marks() -> None:
    mark = "\ue200cite\ue202turn0search0\ue201"
    metadata = {
        "citations": [{"start_ix": 1, "end_ix": 2, "metadata": {"title": "Old", "url": "https://old.example"}}],
        "content_references": [
            {"matched_text": mark, "alt": "([New](https://new.example))", "items": [{"url": "https://new.example"}]}
        ],
    }
    answer = text(f"So it is {mark}.\ue200navlist\ue201")
    found = only(chatgpt(*linear(node("q", None), node("a", None, "assistant", answer, metadata=metadata))))
    assert lines(found)[1][1] == ["So it is ([New](https://new.example))."]
    assert found.messages[1].metadata["citations"] == [
        {"url": "https://old.example", "title": "Old"},
        {"url": "https://new.example", "title": ""},
    ]


@pytest.mark.parametrize(
    ("ending", "status", "reason"),
    [
        ("stop", MessageStatus.COMPLETED, ""),
        ("max_tokens", MessageStatus.INCOMPLETE, "max_tokens"),
        ("interrupted", MessageStatus.INCOMPLETE, "run_cancelled"),
    ],
)
def test_an_answer_that_was_broken_off_says_so(ending: str, status: MessageStatus, reason: str) -> None:
    metadata = {"finish_details": {"type": ending}}
    found = only(chatgpt(*linear(node("q", None), node("a", None, "assistant", metadata=metadata))))
    answer = found.messages[1]
    assert (answer.status, answer.incomplete_reason) == (status, reason)
    assert as_read(answer) == answer


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"current_node": None}, ["q", "a"]),
        ({"current_node": "nobody"}, ["q", "a"]),
        ({"current_node": ["q"]}, ["q", "a"]),
        ({"current_node": "q"}, ["q"]),
    ],
)
def test_without_a_current_node_the_latest_leaf_was_shown(change: dict[str, Any], shown: list[str]) -> None:
    nodes = [
        node("q", "client-created-root"),
        node("a", "q", "assistant", second=9),
        node("old", "q", "assistant", second=3),
    ]
    found = only(chatgpt(*nodes, **change))
    assert [message.id for message in found.messages] == shown


@pytest.mark.parametrize("parent", ["c", "nobody"])
def test_links_that_lead_nowhere_or_in_a_circle_end_the_way(parent: str) -> None:
    found = only(chatgpt(node("a", parent), node("b", "a", "assistant"), node("c", "b")))
    assert lines(found) == [("user", ["a says"]), ("assistant", ["b says"]), ("user", ["c says"])]
    assert losses(found) == {"broken_tree": 1}


def test_times_never_decrease_and_stand_in_for_missing_ones() -> None:
    nodes = linear(
        node("a", None, second=None),
        node("b", None, "assistant", second=5),
        node("c", None, second=2),
        node("d", None, "assistant", second=None),
        node("e", None, second=1e300),
        node("f", None, "assistant", create_time="soon"),
    )
    found = only(chatgpt(*nodes, create_time=None, update_time=-5))
    assert found.created_ms == 1_736_000_002_250
    assert [message.created_ms - 1_736_000_000_250 for message in found.messages] == [5000] * 6
    nothing_known = only(chatgpt(node("a", None, second=None), create_time=None, update_time=None))
    assert (nothing_known.created_ms, nothing_known.messages[0].created_ms) == (MADE_MS, MADE_MS)


def test_what_is_not_known_is_read_as_far_as_it_has_a_text() -> None:
    found = only(
        chatgpt(
            *linear(
                node("a", None, content={"content_type": "sonic_webpage", "text": "A page"}),
                node("b", None, content={"content_type": "hologram", "blob": {"x": 1}}),
                node("c", None, content=text({"content_type": "smell"}, 7, "words")),
            )
        )
    )
    assert lines(found) == [("user", ["A page"]), ("user", ["words"])]
    assert losses(found) == {"unknown_content": 3}


def test_long_texts_are_cut_and_long_results_of_tools_shortened() -> None:
    result = {"content_type": "execution_output", "text": "x" * 30_000}
    found = only(
        chatgpt(
            *linear(
                node("q", None, content=text("y" * 3_000_000, "z")), node("t", None, "tool", result), node("r", None)
            )
        )
    )
    question, answer, _ = found.messages
    assert len(question.content) == 1
    assert len(question.content[0]["text"]["value"]) == 2_000_000
    assert len(answer.content[0]["text"]["value"]) < 20_100
    assert losses(found) == {"shortened": 3}


def test_ids_are_the_sources_where_they_can_be_and_the_same_every_time() -> None:
    export = chatgpt(node("../a", "client-created-root"), node("b", "../a", "assistant", id="x" * 200))
    odd = export | {"conversation_id": "../../etc", "id": 5}
    first, second = only(odd), only(odd)
    assert first == second
    assert first.id.startswith("chatgpt_")
    assert all(message.id.startswith("msg_") for message in first.messages)
    nameless = {key: value for key, value in export.items() if key not in ("conversation_id", "id")}
    assert only(nameless).id == only(nameless).id != only(nameless | {"title": "Other"}).id


def test_messages_with_one_id_stay_apart() -> None:
    found = only(
        chatgpt(node("a", "client-created-root"), node("b", "a", "user", id="a"), node("c", "b", "user", id="a"))
    )
    ids = [message.id for message in found.messages]
    assert len(set(ids)) == 3
    assert ids == [message.id for message in only(chatgpt(*_three())).messages]


def _three() -> list[dict[str, Any]]:
    return [node("a", "client-created-root"), node("b", "a", "user", id="a"), node("c", "b", "user", id="a")]


def test_roles_that_are_not_known_are_a_persons() -> None:
    found = only(chatgpt(*linear(node("a", None, "critic"), node("b", None, "tool", text("t")))))
    assert [message.role for message in found.messages] == [Role.USER, Role.ASSISTANT]
