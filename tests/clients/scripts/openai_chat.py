"""Chats, embeddings, models and errors with the stock SDK for Python."""

import json
import warnings
from typing import Literal

import openai
from failure import error
from openai import OpenAI
from pydantic import BaseModel
from told import EMBEDDER, MODEL, tell

warnings.simplefilter("ignore", DeprecationWarning)  # Assistants is what Janroot is a home for
client = OpenAI(max_retries=0)
QUESTION = [{"role": "user", "content": "Name the capital of France."}]


class Capital(BaseModel):
    """What is asked for."""

    city: Literal["Paris", "Rome"]


def whole():
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=64, temperature=0)
    return {
        "said": answer.choices[0].message.content,
        "reason": answer.choices[0].finish_reason,
        "tokens": answer.usage.completion_tokens,
        "request_id": answer._request_id,
    }


def streamed():
    with client.chat.completions.stream(
        model=MODEL, messages=QUESTION, max_tokens=64, temperature=0, stream_options={"include_usage": True}
    ) as stream:
        said = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    return {"said": said, "final": final.choices[0].message.content, "tokens": final.usage.completion_tokens}


def parsed():
    answer = client.chat.completions.parse(
        model=MODEL, messages=QUESTION, response_format=Capital, max_tokens=200, temperature=0
    )
    return {"city": answer.choices[0].message.parsed.city}


def tools():
    function = openai.pydantic_function_tool(Capital, name="tell_capital")
    forced = {"type": "function", "function": {"name": "tell_capital"}}
    asked = {"model": MODEL, "tools": [function], "temperature": 0, "max_tokens": 200}
    with client.chat.completions.stream(messages=QUESTION, tool_choice=forced, **asked) as stream:
        deltas = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        choice = stream.get_final_completion().choices[0]
    [call] = choice.message.tool_calls
    answered = [
        *QUESTION,
        {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": {
            "name": call.function.name, "arguments": call.function.arguments}}]},
        {"role": "tool", "tool_call_id": call.id, "content": "noted"},
    ]  # fmt: skip
    after = client.chat.completions.create(messages=answered, tool_choice="none", **asked)
    return {
        "reason": choice.finish_reason,
        "called": call.function.name,
        "deltas": len(deltas),
        "keys": list(json.loads(call.function.arguments)),
        "said": after.choices[0].message.content,
    }


def stored():
    asked = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=4, store=True, metadata={"by": "script"}
    )
    found = client.chat.completions.retrieve(asked.id)
    return {
        "same": found.choices[0].message.content == asked.choices[0].message.content,
        "deleted": client.chat.completions.delete(asked.id).deleted,
    }


def completion():
    chunks = client.completions.create(model=MODEL, prompt="One, two,", max_tokens=4, stream=True)
    return {"said": "".join(chunk.choices[0].text for chunk in chunks)}


def embeddings():
    packed = client.embeddings.create(model=EMBEDDER, input=["a river", "a town"])
    plain = client.embeddings.create(model=EMBEDDER, input=["a river", "a town"], encoding_format="float")
    pairs = zip(packed.data, plain.data, strict=True)
    return {
        "dimensions": [len(one.embedding) for one in packed.data],
        "apart": max(abs(a - b) for one, other in pairs for a, b in zip(one.embedding, other.embedding, strict=True)),
    }


def models():
    return {
        "listed": MODEL in [model.id for model in client.models.list()],
        "object": client.models.retrieve(MODEL).object,
    }


def errors():
    return {
        "model": error(lambda: client.chat.completions.create(model="nobody", messages=QUESTION)),
        "parameter": error(lambda: client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=9)),
        "context": error(
            lambda: client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "word " * 20_000}]
            )
        ),
        "thread": error(lambda: client.beta.threads.retrieve("thread_unknown")),
        "response": error(lambda: client.responses.retrieve("resp_unknown")),
        "left_out": error(lambda: client.moderations.create(input="x")),
    }


tell(
    whole=whole,
    streamed=streamed,
    parsed=parsed,
    tools=tools,
    stored=stored,
    completion=completion,
    embeddings=embeddings,
    models=models,
    errors=errors,
)
