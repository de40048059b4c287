"""What the stock SDK for Python sends again by itself, with its own number of retries and its own waits."""

import uuid
import warnings

from failure import error
from openai import OpenAI
from told import CALLS, tell

warnings.simplefilter("ignore", DeprecationWarning)  # Assistants is what Janroot is a home for
client = OpenAI()
LOSES = {"X-Loses-Answer": "1"}


def name(part):
    return {"by": client.api_key, "is": part}


def chat(asking, text, **options):
    messages = [{"role": "user", "content": text}]
    return asking.chat.completions.create(model=CALLS, messages=messages, **options).choices[0].message.content


def full_to_the_end():
    return error(lambda: chat(client.with_options(max_retries=1), "Is there room?"))


def full_for_a_while():
    return {"said": chat(client, f"Is there room now, asks {client.api_key}?")}


def wrong():
    thread = client.beta.threads.create(extra_headers={"Idempotency-Key": "used"}, metadata=name("first"))
    return {
        "parameter": error(lambda: chat(client, "Hi", temperature=9)),
        "thread": error(lambda: client.beta.threads.retrieve("thread_unknown")),
        "role": error(lambda: client.beta.threads.messages.create(thread.id, role="nobody", content="Hi")),
        "key": error(lambda: client.beta.threads.create(extra_headers={"Idempotency-Key": "used"})),
    }


def lost_without_a_key():
    return {"thread": client.beta.threads.create(metadata=name("without"), extra_headers=LOSES).id}


def lost_with_a_key():
    headers = {**LOSES, "Idempotency-Key": str(uuid.uuid4())}
    return {"thread": client.beta.threads.create(metadata=name("with"), extra_headers=headers).id}


def lost_with_the_clients_keys():
    careful = OpenAI()
    careful._idempotency_header = "Idempotency-Key"
    thread = careful.beta.threads.create(metadata=name("careful"), extra_headers=LOSES)
    message = careful.beta.threads.messages.create(thread.id, role="user", content="Hi", extra_headers=LOSES)
    run = careful.beta.threads.runs.create(thread.id, assistant_id="jan", model=CALLS, extra_headers=LOSES)
    ended = careful.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=50)
    return {"thread": thread.id, "message": message.id, "run": run.id, "status": ended.status}


tell(
    full_to_the_end=full_to_the_end,
    full_for_a_while=full_for_a_while,
    wrong=wrong,
    lost_without_a_key=lost_without_a_key,
    lost_with_a_key=lost_with_a_key,
    lost_with_the_clients_keys=lost_with_the_clients_keys,
)
