"""The README's examples, run in order against the whole product; their answers have the shape that it shows.

What a model says may differ from machine to machine, so the words are not compared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shlex
import urllib.request
from itertools import pairwise
from typing import Any

import pytest

from tests.docs import markdown
from tests.docs.markdown import Block
from tests.fixtures.stack import Stack

ADDRESS = "http://127.0.0.1:1337"


def examples(language: str) -> list[tuple[str, Block]]:
    """Each example of a language that talks to the server, with the block of its answer."""
    found = markdown.blocks(markdown.read("README.md"))
    return [
        (block.text, answer)
        for block, answer in pairwise(found)
        if block.language == language and answer.language in {"json", "text"}
    ]


@pytest.mark.engine
def test_the_examples_with_curl(stack: Stack) -> None:
    shown = examples("sh")
    assert len(shown) == 5
    thread_id = ""
    said = ""
    for command, answer in shown:
        said = curl(command.replace(ADDRESS, stack.url).replace("$THREAD", thread_id))
        if answer.language == "json":
            value = json.loads(said)
            assert shape(value) == shape(json.loads(answer.text)), said
            thread_id = value["id"] if value["object"] == "thread" else thread_id
        else:
            assert outline(said) == outline(answer.text), said
    messages = json.loads(said)["data"]
    assert [message["role"] for message in messages] == ["user", "assistant"]


@pytest.mark.engine
@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")  # Assistants is what we are a home for
def test_the_examples_with_the_openai_client(stack: Stack) -> None:
    shown = examples("python")
    assert len(shown) == 2
    names: dict[str, Any] = {}
    for code, answer in shown:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code.replace(ADDRESS, stack.url), "README.md", "exec"), names)
        assert speakers(printed.getvalue()) == speakers(answer.text), printed.getvalue()
    assert names["run"].status == "completed"
    names["client"].close()


def curl(command: str) -> str:
    """What the curl command would print. Asked from here, because a bare machine has no curl."""
    options = argparse.ArgumentParser()
    options.add_argument("-s", action="store_true")
    options.add_argument("-N", action="store_true")
    options.add_argument("-H", dest="headers", action="append", default=[])
    options.add_argument("-d", dest="body")
    options.add_argument("url")
    program, *arguments = shlex.split(command[command.index("curl ") :])
    assert program == "curl"
    asked = options.parse_args(arguments)
    request = urllib.request.Request(
        asked.url,
        data=asked.body.encode() if asked.body else None,
        headers=dict(header.split(": ", 1) for header in asked.headers),
    )
    with urllib.request.urlopen(request, timeout=50) as answer:
        text: str = answer.read().decode()
        return text


def shape(value: Any) -> Any:
    """A JSON value with its keys and without its leaves."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else None


def outline(stream: str) -> list[str]:
    """The kinds of events in a stream, each once, and its last line; the README leaves some of the events out."""
    lines = [line for line in stream.splitlines() if line.startswith(("event: ", "data: "))]
    kept = {"thread.run.created", "thread.message.delta", "thread.message.completed", "thread.run.completed", "done"}
    names = [line.removeprefix("event: ") for line in lines if line.removeprefix("event: ") in kept]
    return [*dict.fromkeys(names), lines[-1]]


def speakers(printed: str) -> list[str]:
    """Who speaks in what an example printed."""
    return re.findall(r"^(user|assistant): \S", printed, re.MULTILINE)
