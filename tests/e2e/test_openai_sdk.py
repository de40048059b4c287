"""The stock OpenAI SDK on its main path, against all four processes and a real model."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai import AssistantEventHandler, OpenAI
from openai.types.beta.threads import Message, Text
from typing_extensions import override

from tests.fixtures.stack import MODEL, Stack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),  # Assistants is what we are a home for
]
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def client(stack: Stack) -> OpenAI:
    return stack.client


def test_a_whole_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16)
    [choice] = answer.choices
    assert choice.message.content
    assert choice.finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 16
    assert answer.model == MODEL


def test_a_streamed_chat(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=16, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    first, *middle, last, usage = chunks
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert all(chunk.choices[0].delta.role is None and chunk.choices[0].finish_reason is None for chunk in middle)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in middle)
    assert last.choices[0].finish_reason in {"stop", "length"}
    assert last.choices[0].delta.content is None
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.total_tokens == usage.usage.prompt_tokens + usage.usage.completion_tokens
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])


def test_the_same_seed_gives_the_same_answer_streamed_or_not(client: OpenAI) -> None:
    parameters: Any = {"model": MODEL, "messages": QUESTION, "max_tokens": 12, "temperature": 0, "seed": 1}
    whole = client.chat.completions.create(**parameters).choices[0].message.content
    chunks = client.chat.completions.create(**parameters, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole


TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "time")
]


def test_a_function_that_must_be_called_is(client: OpenAI) -> None:
    parameters: Any = {"model": MODEL, "messages": QUESTION, "tools": TOOLS, "tool_choice": "required"}
    [choice] = client.chat.completions.create(**parameters).choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name in {"weather", "time"}
    assert json.loads(call.function.arguments)["city"] in {"Paris", "Rome"}
    answered: Any = [*QUESTION, choice.message.model_dump(exclude_none=True)]
    answered += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    answer = client.chat.completions.create(model=MODEL, messages=answered, tools=TOOLS, max_tokens=8)
    assert answer.choices[0].message.content


def test_a_streamed_call_by_name_is_put_together_by_the_sdk(client: OpenAI) -> None:
    named: Any = {"type": "function", "function": {"name": "time"}}
    with client.chat.completions.stream(model=MODEL, messages=QUESTION, tools=TOOLS, tool_choice=named) as stream:
        kinds = {event.type for event in stream}
        [call] = stream.get_final_completion().choices[0].message.tool_calls or []
    assert "tool_calls.function.arguments.delta" in kinds
    assert call.function.name == "time"
    assert json.loads(call.function.arguments)["city"] in {"Paris", "Rome"}


def test_a_text_is_gone_on_with(client: OpenAI) -> None:
    parameters: Any = {"model": MODEL, "prompt": ["One, two,", "The capital of France is"], "temperature": 0}
    whole = client.completions.create(**parameters, max_tokens=4, logprobs=1)
    assert (whole.object, [choice.index for choice in whole.choices]) == ("text_completion", [0, 1])
    assert whole.id.startswith("cmpl-")
    assert all(choice.logprobs and "".join(choice.logprobs.tokens or ()) == choice.text for choice in whole.choices)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 8
    *chunks, usage = client.completions.create(
        **parameters, max_tokens=4, stream=True, stream_options={"include_usage": True}
    )
    for choice in whole.choices:
        pieces = [one.text for chunk in chunks for one in chunk.choices if one.index == choice.index]
        assert "".join(pieces) == choice.text
    assert usage.usage is not None
    assert usage.usage.total_tokens == whole.usage.total_tokens
    by_default = client.completions.create(model=MODEL, prompt="One, two,", echo=True)
    assert by_default.choices[0].text.startswith("One, two,")
    assert by_default.usage is not None
    assert by_default.usage.completion_tokens <= 16


def test_a_completion_of_no_tokens_is_its_echo(client: OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="One, two,", echo=True, max_tokens=0)
    assert answer.choices[0].text == "One, two,"
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (0, answer.usage.prompt_tokens)


def test_what_a_completion_cannot_have_is_refused_by_name(client: OpenAI) -> None:
    for field, value in (("suffix", "the end"), ("best_of", 3), ("prompt", "word " * 9000)):
        parameters: Any = {"model": MODEL, "prompt": "One", field: value}
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(**parameters)
        assert caught.value.param == field


def test_embeddings(client: OpenAI, embedder: str) -> None:
    answer = client.embeddings.create(model=embedder, input=["a river", "a town"])  # asks for base64
    plain = client.embeddings.create(model=embedder, input=["a river", "a town"], encoding_format="float")
    assert [one.index for one in answer.data] == [0, 1]
    for one, other in zip(answer.data, plain.data, strict=True):
        assert len(one.embedding) == 576
        assert one.embedding == pytest.approx(other.embedding, abs=1e-4)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens == 4
    assert answer.model == embedder
    with pytest.raises(openai.BadRequestError, match="576 dimensions, not 8") as caught:
        client.embeddings.create(model=embedder, input="a river", dimensions=8)
    assert caught.value.param == "dimensions"
    with pytest.raises(openai.BadRequestError, match="maximum context length is 512 tokens"):
        client.embeddings.create(model=embedder, input="word " * 600)


def test_a_model_for_chats_says_what_it_lacks_to_embed(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match='set "embedding": true') as caught:
        client.embeddings.create(model=MODEL, input="a river")
    assert caught.value.param == "model"


def test_eight_chats_at_once(client: OpenAI) -> None:
    def ask(number: int) -> str:
        answer = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Count to {number}."}], max_tokens=12
        )
        return answer.choices[0].message.content or ""

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_an_answer_of_a_schema(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}},
        max_tokens=64,
    )
    assert set(json.loads(answer.choices[0].message.content or "")) == {"city"}


def test_a_stop_string_does_not_leak(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Repeat exactly: one two three four five"}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, stop=[" "], max_tokens=20, temperature=0)
    assert " " not in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"


def test_errors_have_openais_classes(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=QUESTION)
    assert missing.value.code == "model_not_found"
    assert missing.value.request_id
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=9)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 20_000}])
    assert long.value.code == "context_length_exceeded"


def test_models(client: OpenAI) -> None:
    assert MODEL in [model.id for model in client.models.list()]
    model = client.models.retrieve(MODEL)
    assert model.object == "model"
    assert (model.model_extra or {})["state"] in {"ready", "starting", "running"}


def test_a_conversation_with_two_assistants(client: OpenAI) -> None:
    tutor = client.beta.assistants.create(model=MODEL, name="Tutor", instructions="Answer in one short sentence.")
    poet = client.beta.assistants.create(model=MODEL, name="Poet", instructions="Answer with one line of verse.")
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "My name is Ann."}])
    first = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=tutor.id)
    assert first.status in {"completed", "incomplete"}, first.last_error
    client.beta.threads.messages.create(thread.id, role="user", content="What is my name?")
    second = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=poet.id, max_completion_tokens=256
    )
    assert second.status in {"completed", "incomplete"}, second.last_error
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.prompt_tokens > first.usage.prompt_tokens + first.usage.completion_tokens
    messages = list(client.beta.threads.messages.list(thread.id, order="asc"))
    assert [(message.role, message.assistant_id) for message in messages] == [
        ("user", None),
        ("assistant", tutor.id),
        ("user", None),
        ("assistant", poet.id),
    ]
    assert client.beta.assistants.delete(poet.id).deleted
    assert client.beta.threads.runs.retrieve(second.id, thread_id=thread.id).model == MODEL
    assert client.beta.threads.delete(thread.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.beta.threads.messages.list(thread.id)


class Listener(AssistantEventHandler):
    """What an application hears of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.done: list[str] = []

    @override
    def on_text_delta(self, delta: Any, snapshot: Text) -> None:
        self.text += delta.value or ""
        assert snapshot.value == self.text

    @override
    def on_message_done(self, message: Message) -> None:
        self.done.append(message.id)


def test_a_streamed_run(client: OpenAI) -> None:
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Say hello."}])
    listener = Listener()
    with client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id="jan", max_completion_tokens=256, event_handler=listener
    ) as stream:
        stream.until_done()
        run = stream.get_final_run()
        [message] = stream.get_final_messages()
    assert run.status in {"completed", "incomplete"}
    [block] = message.content
    assert block.type == "text"
    assert block.text.value == listener.text != ""
    assert listener.done == [message.id]
    assert [stored.id for stored in client.beta.threads.messages.list(thread.id, run_id=run.id)] == [message.id]
    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert step.step_details.type == "message_creation"
    assert step.step_details.message_creation.message_id == message.id


def test_a_thread_made_and_run_in_one_request(client: OpenAI) -> None:
    run = client.beta.threads.create_and_run_poll(
        assistant_id="jan",
        thread={"messages": [{"role": "user", "content": "Say hello."}]},
        max_completion_tokens=256,
    )
    assert run.status in {"completed", "incomplete"}
    with client.beta.threads.create_and_run_stream(
        assistant_id="jan",
        thread={"messages": [{"role": "user", "content": "Say hello."}]},
        max_completion_tokens=256,
    ) as stream:
        events = [event.event for event in stream]
    assert events[0] == "thread.created"
    assert events[-1] in {"thread.run.completed", "thread.run.incomplete"}


def test_a_run_can_be_cancelled(client: OpenAI) -> None:
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Write a very long story."}])
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id="jan")
    assert client.beta.threads.runs.cancel(run.id, thread_id=thread.id).status == "cancelling"
    ended = client.beta.threads.runs.poll(run.id, thread_id=thread.id)
    assert ended.status in {"cancelled", "completed", "incomplete"}


def test_the_conversation_lies_in_plain_files(client: OpenAI, stack: Stack) -> None:
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": "Say hello. Grüß Gott, 你好"}], metadata={"project": "files"}
    )
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id="jan", max_completion_tokens=256)
    folder = stack.janroot / "threads" / thread.id
    written = json.loads((folder / "thread.json").read_text(encoding="utf-8"))
    assert (written["id"], written["object"], written["metadata"]) == (thread.id, "thread", {"project": "files"})
    lines = [json.loads(line) for line in (folder / "messages.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["role"] for line in lines] == ["user", "assistant"]
    assert lines[0]["content"][0]["text"]["value"] == "Say hello. Grüß Gott, 你好"
    assert (lines[1]["run_id"], lines[1]["assistant_id"]) == (run.id, "jan")
    assert all(line["created"] > 10**12 for line in lines)


def test_files(client: OpenAI, stack: Stack) -> None:
    data = bytes(range(256)) * 5000
    made = client.files.create(file=("../plan für Rom.bin", data), purpose="assistants")
    assert (made.bytes, made.purpose, made.object, made.status) == (len(data), "assistants", "file", "processed")
    assert client.files.wait_for_processing(made.id).id == made.id
    expiring = client.files.create(file=b"{}", purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})
    assert expiring.expires_at == expiring.created_at + 3600
    assert [file.id for file in client.files.list(limit=1)][:2] == [expiring.id, made.id]
    of_batches = list(client.files.list(purpose="batch"))
    assert of_batches[0].id == expiring.id
    assert {file.purpose for file in of_batches} == {"batch"}
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == data
    assert sorted(path.name for path in (stack.janroot / "files").iterdir() if path.name.startswith(made.id)) == [
        made.id,
        f"{made.id}.json",
    ]

    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(
        thread.id, role="user", content="Read", attachments=[{"file_id": made.id, "tools": [{"type": "file_search"}]}]
    )
    assert message.attachments is not None
    assert message.attachments[0].file_id == made.id
    with pytest.raises(openai.BadRequestError):
        client.beta.threads.messages.create(
            thread.id, role="user", content="Read", attachments=[{"file_id": "file-unknown", "tools": []}]
        )

    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        client.files.content(made.id)
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=b"x", purpose="nonsense")  # type: ignore[arg-type]
    assert client.files.delete(expiring.id).deleted
