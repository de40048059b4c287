"""What the checks ask of a running Janroot with the stock OpenAI client: a streamed chat, and a run on a thread."""

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from openai import OpenAI

MODEL = "smollm2-135m-instruct"
ANSWER_SECONDS = 60.0
POLL_SECONDS = 0.1


class CheckFailedError(Exception):
    """What was expected and did not happen."""


def expect(condition: bool, sentence: str) -> None:
    """Raise CheckFailedError with the sentence unless the condition holds."""
    if not condition:
        raise CheckFailedError(sentence)


def wait_for(condition: Callable[[], bool], seconds: float, sentence: str) -> float:
    """Wait until a condition holds and return how long it took. Raises CheckFailedError with the sentence."""
    began = time.monotonic()
    while not condition():
        expect(time.monotonic() - began < seconds, f"{sentence} (waited {seconds:.0f} s)")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def is_ready(url: str) -> bool:
    """Whether the gateway at the URL says that all parts answer."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310 (ours, on loopback)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def client(url: str) -> OpenAI:
    """The stock client, without its retries: what is asked once must work once."""
    return OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=ANSWER_SECONDS)


def stream_a_chat(openai: OpenAI) -> str:
    """Ask one streamed question and return the answer; it ends with a finish reason."""
    question = "What is the capital of France?"
    stream = openai.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=24, stream=True
    )
    choices = [chunk.choices[0] for chunk in stream if chunk.choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    expect(bool(text.strip()), "The streamed chat gave no text.")
    expect(choices[-1].finish_reason in {"stop", "length"}, f"The chat ended with {choices[-1].finish_reason!r}.")
    return text


def run_a_thread(openai: OpenAI) -> str:
    """Let a run answer a message on a new thread, and return the thread's id; the answer stands in the thread."""
    thread = openai.beta.threads.create(messages=[{"role": "user", "content": "Name a colour."}])
    assistant = openai.beta.assistants.create(model=MODEL, instructions="Answer with one word.")
    run = openai.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=200, max_completion_tokens=256
    )
    expect(run.status in {"completed", "incomplete"}, f"The run ended as {run.status!r}: {run.last_error}")
    roles = [message.role for message in openai.beta.threads.messages.list(thread.id, order="asc")]
    expect(roles == ["user", "assistant"], f"The thread holds {roles}, not a question and its answer.")
    return thread.id
