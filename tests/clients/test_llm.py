"""The command line `llm`: no script, just its commands and the file in which it is told of other servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients import programs
from tests.clients.environments import HOME
from tests.fixtures.stack import MODEL, Stack

pytestmark = [pytest.mark.clients, pytest.mark.engine]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
MODELS = """\
- {{model_id: chat, model_name: {model}, api_base: "{url}/v1", supports_schema: true, supports_tools: true}}
- {{model_id: responses, model_name: {model}, api_base: "{url}/v1", responses: true}}
- {{model_id: completion, model_name: {model}, api_base: "{url}/v1", completion: true}}
"""
Llm = Callable[..., str]


@pytest.fixture
def llm(stack: Stack, tmp_path: Path) -> Llm:
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(model=MODEL, url=stack.url))
    environment = programs.environment(stack.url, tmp_path) | {"LLM_USER_PATH": str(tmp_path)}

    def run(*arguments: str) -> str:
        command = [str(HOME / "llm/bin/python"), "-m", "llm", *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=programs.SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_a_conversation_and_its_log(llm: Llm) -> None:
    assert (
        llm("-m", "chat", "-o", "temperature", "0", "Name the capital of France.") == "The capital of France is Paris."
    )
    assert llm("-c", "-o", "temperature", "0", "Name the capital of Italy.") == "The capital of Italy is Rome."
    logged: list[dict[str, Any]] = json.loads(llm("logs", "--json", "-n", "2"))
    assert len({entry["conversation_id"] for entry in logged}) == 1


@pytest.mark.parametrize("arguments", [["chat", "--no-stream"], ["responses"], ["responses", "--no-stream"]])
def test_other_ways_to_ask(llm: Llm, arguments: list[str]) -> None:
    said = llm("-m", *arguments, "-o", "temperature", "0", "Name the capital of France.")
    assert said == "The capital of France is Paris."


def test_an_object_of_a_schema(llm: Llm) -> None:
    said = llm("-m", "chat", "-o", "temperature", "0", "--schema", json.dumps(SCHEMA), "Name the capital of France.")
    assert json.loads(said)["city"] in {"Paris", "Rome"}


def test_a_text_is_gone_on_with(llm: Llm) -> None:
    assert llm("-m", "completion", "-o", "max_tokens", "4", "One, two,")
