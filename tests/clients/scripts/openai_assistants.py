"""Assistants with the stock SDK for Python: polled, streamed into a handler, with functions and with files."""

import json
import warnings

from openai import AssistantEventHandler, OpenAI
from told import MODEL, tell

warnings.simplefilter("ignore", DeprecationWarning)  # Assistants is what Janroot is a home for
client = OpenAI(max_retries=0)
CAPITAL = "Name the capital of France."
QUESTION = [{"role": "user", "content": "How is the weather in Rome?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
FORCED = {"type": "function", "function": {"name": "weather"}}


class Handler(AssistantEventHandler):
    """What an application hears of a run."""

    def __init__(self):
        super().__init__()
        self.events = []
        self.said = ""
        self.arguments = ""

    def on_event(self, event):
        if event.event not in self.events:
            self.events.append(event.event)

    def on_text_delta(self, delta, snapshot):
        self.said += delta.value or ""

    def on_tool_call_delta(self, delta, snapshot):
        self.arguments += delta.function.arguments or ""


def said_in(thread_id, run_id):
    [message] = client.beta.threads.messages.list(thread_id, run_id=run_id).data
    return message.content[0].text.value


def steps_of(run):
    return client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc").data


def calls_functions():
    return client.beta.assistants.create(model=MODEL, tools=[WEATHER], temperature=0, metadata={"by": "script"})


def polled():
    assistant = client.beta.assistants.create(model=MODEL, name="Tutor", instructions="Be brief.", temperature=0)
    renamed = client.beta.assistants.update(assistant.id, name="Teacher")
    thread = client.beta.threads.create(metadata={"by": "script"})
    client.beta.threads.messages.create(thread.id, role="user", content=CAPITAL)
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=256
    )
    messages = list(client.beta.threads.messages.list(thread.id, order="asc", limit=1))
    return {
        "name": renamed.name,
        "status": run.status,
        "roles": [message.role for message in messages],
        "said": messages[-1].content[0].text.value,
        "tokens": run.usage.completion_tokens,
        "listed": assistant.id in [one.id for one in client.beta.assistants.list()],
        "deleted": [client.beta.assistants.delete(assistant.id).deleted, client.beta.threads.delete(thread.id).deleted],
    }


def streamed():
    thread = client.beta.threads.create(messages=[{"role": "user", "content": CAPITAL}])
    handler = Handler()
    with client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id="jan", temperature=0, max_completion_tokens=256, event_handler=handler
    ) as stream:
        stream.until_done()
        run = stream.get_final_run()
        [message] = stream.get_final_messages()
    return {
        "status": run.status,
        "events": handler.events,
        "said": handler.said,
        "final": message.content[0].text.value,
        "stored": said_in(thread.id, run.id),
    }


def tools_polled():
    thread = client.beta.threads.create(messages=QUESTION)
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=calls_functions().id, tool_choice=FORCED, max_completion_tokens=256
    )
    waits = run.status
    [call] = run.required_action.submit_tool_outputs.tool_calls
    outputs = [{"tool_call_id": call.id, "output": "Sunny."}]
    run = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs
    )
    called, _ = steps_of(run)
    return {
        "statuses": [waits, run.status],
        "called": call.function.name,
        "city": json.loads(call.function.arguments)["city"],
        "output": called.step_details.tool_calls[0].function.output,
        "said": said_in(thread.id, run.id),
    }


def tools_streamed():
    thread = client.beta.threads.create(messages=QUESTION)
    first, second = Handler(), Handler()
    with client.beta.threads.runs.stream(
        thread_id=thread.id,
        assistant_id=calls_functions().id,
        tool_choice=FORCED,
        max_completion_tokens=256,
        event_handler=first,
    ) as stream:
        stream.until_done()
        run = stream.current_run
    [call] = run.required_action.submit_tool_outputs.tool_calls
    outputs = [{"tool_call_id": call.id, "output": "Sunny."}]
    with client.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs, event_handler=second
    ) as stream:
        stream.until_done()
    return {
        "events": first.events + second.events,
        "whole": first.arguments == call.function.arguments,
        "said": second.said,
        "stored": said_in(thread.id, run.id),
    }


def file_search():
    store = client.vector_stores.create(name="Garden")
    added = client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("tomatoes.md", b"# Tomatoes\n\nPlant tomatoes in the middle of May.")
    )
    assistant = client.beta.assistants.create(
        model=MODEL,
        temperature=0,
        tools=[{"type": "file_search"}],
        tool_resources={"file_search": {"vector_stores": [{"file_ids": [added.id]}]}},
    )
    [made] = assistant.tool_resources.file_search.vector_store_ids
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": "When do I plant tomatoes?"}]},
        max_completion_tokens=256,
    )
    searched = steps_of(run)[0]
    found = searched.step_details.tool_calls[0].file_search.results
    hits = client.vector_stores.search(made, query="When do I plant tomatoes?").data
    return {
        "added": added.status,
        "status": run.status,
        "found": [result.file_name for result in found],
        "hits": [hit.content[0].text for hit in hits],
        "deleted": [client.vector_stores.delete(one).deleted for one in (store.id, made)],
    }


tell(
    polled=polled,
    streamed=streamed,
    tools_polled=tools_polled,
    tools_streamed=tools_streamed,
    file_search=file_search,
)
