"""Responses and conversations with the stock SDK for Python."""

import json
from typing import Literal

from openai import OpenAI
from pydantic import BaseModel
from told import MODEL, tell

CAPITAL = "Name the capital of France."
client = OpenAI(max_retries=0)
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Capital(BaseModel):
    """What is asked for."""

    city: Literal["Paris", "Rome"]


def streamed():
    with client.responses.stream(model=MODEL, input=CAPITAL, max_output_tokens=64, temperature=0) as stream:
        said = ""
        numbers = []
        for event in stream:
            numbers.append(event.sequence_number)
            said += event.delta if event.type == "response.output_text.delta" else ""
        final = stream.get_final_response()
    after = client.responses.create(model=MODEL, input="Again.", previous_response_id=final.id, max_output_tokens=16)
    return {
        "numbered": numbers == list(range(len(numbers))),
        "said": said,
        "final": final.output_text,
        "stored": client.responses.retrieve(final.id).output_text,
        "after": after.output_text,
        "previous": after.previous_response_id == final.id,
    }


def parsed():
    answer = client.responses.parse(
        model=MODEL, input=CAPITAL, text_format=Capital, max_output_tokens=64, temperature=0
    )
    return {"city": answer.output_parsed.city}


def conversation():
    talk = client.conversations.create(metadata={"by": "script"})
    called = client.responses.create(
        model=MODEL,
        input="How is the weather in Rome?",
        conversation=talk.id,
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        temperature=0,
    )
    [call] = called.output
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 31 degrees."}
    client.responses.create(model=MODEL, input=[output], conversation=talk.id, max_output_tokens=32)
    return {
        "called": call.name,
        "city": json.loads(call.arguments)["city"],
        "items": [item.type for item in client.conversations.items.list(talk.id, order="asc")],
        "deleted": client.conversations.delete(talk.id).deleted,
    }


def in_background():
    response = client.responses.create(model=MODEL, input=CAPITAL, background=True, max_output_tokens=64, temperature=0)
    statuses = [response.status]
    while response.status in {"queued", "in_progress"}:
        response = client.responses.retrieve(response.id)
    return {"first": statuses[0], "last": response.status, "said": response.output_text}


def file_search():
    store = client.vector_stores.create(name="Garden")
    client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("tomatoes.md", b"# Tomatoes\n\nPlant tomatoes in the middle of May.")
    )
    tool = {"type": "file_search", "vector_store_ids": [store.id]}
    question = "When do I plant tomatoes?"
    with client.responses.stream(
        model=MODEL, input=question, tools=[tool], max_output_tokens=256, temperature=0
    ) as stream:
        heard = [event.type for event in stream]
        final = stream.get_final_response()
    shown = client.responses.retrieve(final.id, include=["file_search_call.results"])
    return {
        "heard": [kind for kind in heard if "file_search" in kind],
        "items": [item.type for item in final.output],
        "queries": final.output[0].queries == [question],
        "hidden": final.output[0].results is None,
        "found": [result.text for result in shown.output[0].results],
        "said": final.output_text != "",
        "deleted": client.vector_stores.delete(store.id).deleted,
    }


tell(
    streamed=streamed,
    parsed=parsed,
    conversation=conversation,
    in_background=in_background,
    file_search=file_search,
)
