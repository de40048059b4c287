"""OpenAIAssistantAgent of Semantic Kernel, a client of Assistants: it calls what the model wants called by itself."""

import warnings
from typing import Annotated

from openai import AsyncOpenAI
from semantic_kernel.agents import AssistantAgentThread, OpenAIAssistantAgent
from semantic_kernel.functions import kernel_function
from told import CALLS, MODEL, tell

warnings.simplefilter("ignore", DeprecationWarning)  # Assistants is what Janroot is a home for


class Weather:
    """A plugin, which notes how it was called."""

    def __init__(self):
        self.asked = []

    @kernel_function(name="weather", description="The weather of a city.")
    def weather(self, city: Annotated[str, "The city."]) -> str:
        self.asked.append(city)
        return "Sunny."


async def agent(client, *plugins, model=MODEL):
    definition = await client.beta.assistants.create(
        model=model, name="Tutor", instructions="Be brief.", temperature=0, metadata={"by": "semantic-kernel"}
    )
    return OpenAIAssistantAgent(client=client, definition=definition, plugins=list(plugins))


async def whole():
    async with AsyncOpenAI(max_retries=0) as client:
        tutor = await agent(client)
        thread = AssistantAgentThread(client=client)
        answers = [
            str(item.message.content)
            async for item in tutor.invoke(messages="Name the capital of France.", thread=thread)
        ]
        again = await tutor.get_response(messages="Name the capital of Italy.", thread=thread)
        roles = [message.role.value async for message in thread.get_messages(sort_order="asc")]
        await thread.delete()
        return {"said": answers, "again": str(again.message.content), "roles": roles}


async def streamed():
    async with AsyncOpenAI(max_retries=0) as client:
        tutor = await agent(client)
        pieces = [
            str(item.message.content) async for item in tutor.invoke_stream(messages="Name the capital of France.")
        ]
        return {"pieces": len(pieces), "said": "".join(pieces)}


async def functions():
    async with AsyncOpenAI(max_retries=0) as client:
        weather = Weather()
        tutor = await agent(client, weather, model=CALLS)
        answers = [
            str(item.message.content)
            async for item in tutor.invoke(
                messages="How is the weather in Rome?",
            )
        ]
        return {"asked": weather.asked, "said": answers[-1]}


async def functions_streamed():
    async with AsyncOpenAI(max_retries=0) as client:
        weather = Weather()
        tutor = await agent(client, weather, model=CALLS)
        pieces = [
            str(item.message.content)
            async for item in tutor.invoke_stream(
                messages="How is the weather in Rome?",
            )
        ]
        return {"asked": weather.asked, "said": "".join(pieces)}


tell(whole=whole, streamed=streamed, functions=functions, functions_streamed=functions_streamed)
