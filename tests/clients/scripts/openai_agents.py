"""The Agents SDK of OpenAI, a client of Responses: it runs functions itself, and keeps a session in a conversation."""

from typing import Literal

from agents import (
    Agent,
    ModelSettings,
    OpenAIConversationsSession,
    Runner,
    function_tool,
    set_default_openai_client,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel
from told import MODEL, tell

CAPITAL = "Name the capital of France."
SETTINGS = ModelSettings(temperature=0, max_tokens=200)
set_tracing_disabled(True)  # traces go to OpenAI, whoever answers


class Capital(BaseModel):
    """What is asked for."""

    city: Literal["Paris", "Rome"]


def fresh_client():
    client = AsyncOpenAI(max_retries=0)
    set_default_openai_client(client)
    return client


async def whole():
    async with fresh_client():
        result = await Runner.run(
            Agent(name="Tutor", instructions="Be brief.", model=MODEL, model_settings=SETTINGS), CAPITAL
        )
        return {"said": result.final_output, "tokens": result.context_wrapper.usage.output_tokens}


async def streamed():
    async with fresh_client():
        result = Runner.run_streamed(
            Agent(name="Tutor", instructions="Be brief.", model=MODEL, model_settings=SETTINGS), CAPITAL
        )
        said = ""
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                said += event.data.delta
        return {"said": said, "final": result.final_output}


async def structured():
    async with fresh_client():
        tutor = Agent(name="Tutor", instructions="Be brief.", model=MODEL, model_settings=SETTINGS, output_type=Capital)
        return {"city": (await Runner.run(tutor, CAPITAL)).final_output.city}


async def functions():
    asked = []

    @function_tool
    def weather(city: Literal["Paris", "Rome"]) -> str:
        """The weather of a city."""
        asked.append(city)
        return "Sunny."

    async with fresh_client():
        settings = ModelSettings(temperature=0, max_tokens=200, tool_choice="weather")
        tutor = Agent(name="Tutor", instructions="Be brief.", model=MODEL, model_settings=settings, tools=[weather])
        result = await Runner.run(tutor, "How is the weather in Rome?", max_turns=4)
        return {"asked": asked, "said": result.final_output, "items": [item.type for item in result.new_items]}


async def session():
    async with fresh_client() as client:
        kept = OpenAIConversationsSession(openai_client=client)
        tutor = Agent(name="Tutor", instructions="Be brief.", model=MODEL, model_settings=SETTINGS)
        await Runner.run(tutor, CAPITAL, session=kept)
        await Runner.run(tutor, "Name the capital of Italy.", session=kept)
        items = await kept.get_items()
        await kept.clear_session()
        return {"roles": [item["role"] for item in items]}


tell(whole=whole, streamed=streamed, structured=structured, functions=functions, session=session)
