"""LangChain's ChatOpenAI (over chats and over Responses) and OpenAIEmbeddings."""

from typing import Literal

from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from told import EMBEDDER, MODEL, tell

CAPITAL = "Name the capital of France."
chat = ChatOpenAI(model=MODEL, temperature=0, max_tokens=200, max_retries=0)
over_responses = ChatOpenAI(model=MODEL, temperature=0, max_tokens=200, max_retries=0, use_responses_api=True)


class Capital(BaseModel):
    """What is asked for."""

    city: Literal["Paris", "Rome"]


@tool
def weather(city: Literal["Paris", "Rome"]) -> str:
    """The weather of a city."""
    return f"Sunny in {city}."


def whole():
    answer = chat.invoke(CAPITAL)
    return {"said": answer.text, "tokens": answer.usage_metadata["output_tokens"]}


def streamed():
    chunks = list(chat.stream(CAPITAL, stream_usage=True))
    usage = [chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata]
    return {"said": "".join(chunk.text for chunk in chunks), "pieces": len(chunks), "tokens": usage}


async def four_at_once():
    return {"said": [answer.text for answer in await chat.abatch([CAPITAL] * 4)]}


def structured():
    return {
        method: chat.with_structured_output(Capital, method=method).invoke(CAPITAL).city
        for method in ("json_schema", "function_calling")
    }


def functions():
    question = ("user", "How is the weather in Rome?")
    called = chat.bind_tools([weather], tool_choice="weather").invoke([question])
    [call] = called.tool_calls
    output = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
    return {"called": call["name"], "arguments": call["args"], "said": chat.invoke([question, called, output]).text}


def responses():
    chunks = list(over_responses.stream(CAPITAL))
    return {"said": over_responses.invoke(CAPITAL).text, "streamed": "".join(chunk.text for chunk in chunks)}


def embeddings():
    embedder = OpenAIEmbeddings(model=EMBEDDER, check_embedding_ctx_length=False, max_retries=0)
    return {
        "dimensions": [len(vector) for vector in embedder.embed_documents(["a river", "a town"])],
        "query": len(embedder.embed_query("a river")),
    }


tell(
    whole=whole,
    streamed=streamed,
    four_at_once=four_at_once,
    structured=structured,
    functions=functions,
    responses=responses,
    embeddings=embeddings,
)
