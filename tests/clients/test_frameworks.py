"""Clients of other people: agents over Assistants and over Responses, LangChain, Vercel's AI SDK."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Seen
from tests.clients.engine import SAID

pytestmark = [pytest.mark.clients, pytest.mark.engine]
PARIS = "The capital of France is Paris."
ROME = "The capital of Italy is Rome."
CITIES = {"Paris", "Rome"}


class TestSemanticKernel:
    CLIENT = ("semantic-kernel", "semantic_kernel_assistant")

    def test_a_conversation(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "whole") == {
            "said": [PARIS],
            "again": ROME,
            "roles": ["user", "assistant", "user", "assistant"],
        }

    def test_a_stream(self, seen: Seen) -> None:
        saw = seen(*self.CLIENT, "streamed")
        assert saw["said"] == PARIS
        assert saw["pieces"] > 1

    @pytest.mark.parametrize("part", ["functions", "functions_streamed"])
    def test_it_runs_the_function_that_is_called(self, seen: Seen, part: str) -> None:
        saw = seen(*self.CLIENT, part)
        assert saw["asked"] == ["x"]
        assert saw["said"].strip() == SAID


class TestOpenAIAgents:
    CLIENT = ("openai-agents", "openai_agents")

    def test_an_answer_whole_and_streamed(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "whole") == {"said": PARIS, "tokens": 8}
        assert seen(*self.CLIENT, "streamed") == {"said": PARIS, "final": PARIS}

    def test_an_object(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "structured")["city"] in CITIES

    def test_it_runs_the_function_that_is_called(self, seen: Seen) -> None:
        saw = seen(*self.CLIENT, "functions")
        assert len(saw["asked"]) == 1
        assert set(saw["asked"]) <= CITIES
        assert saw["items"] == ["tool_call_item", "tool_call_output_item", "message_output_item"]
        assert saw["said"]

    def test_a_session_lies_in_a_conversation(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "session") == {"roles": ["user", "assistant", "user", "assistant"]}


class TestLangChain:
    CLIENT = ("langchain-openai", "langchain_openai_chat")

    def test_an_answer_whole_and_streamed(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "whole") == {"said": PARIS, "tokens": 8}
        saw = seen(*self.CLIENT, "streamed")
        assert (saw["said"], saw["tokens"]) == (PARIS, [8])
        assert saw["pieces"] > 1

    def test_four_at_once(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "four_at_once") == {"said": [PARIS] * 4}

    def test_an_object_by_schema_and_by_call(self, seen: Seen) -> None:
        assert set(seen(*self.CLIENT, "structured").values()) <= CITIES

    def test_a_function_is_called_and_answered(self, seen: Seen) -> None:
        saw = seen(*self.CLIENT, "functions")
        assert saw["called"] == "weather"
        assert saw["arguments"]["city"] in CITIES
        assert saw["said"]

    def test_over_responses(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "responses") == {"said": PARIS, "streamed": PARIS}

    def test_embeddings(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "embeddings") == {"dimensions": [576, 576], "query": 576}


class TestVercelAI:
    CLIENT = ("node", "vercel_ai")

    def test_an_answer_whole_and_streamed(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "whole") == {"said": PARIS, "reason": "stop", "tokens": 8}
        saw = seen(*self.CLIENT, "streamed")
        assert (saw["said"], saw["tokens"]) == (PARIS, 8)
        assert saw["pieces"] > 1

    def test_a_loop_of_functions(self, seen: Seen) -> None:
        saw = seen(*self.CLIENT, "functions")
        assert len(saw["asked"]) == 1
        assert set(saw["asked"]) <= CITIES
        assert saw["steps"] == 2
        assert saw["said"]

    def test_an_object(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "structured")["city"] in CITIES

    def test_embeddings(self, seen: Seen) -> None:
        assert seen(*self.CLIENT, "embeddings") == {"dimensions": [576, 576], "tokens": 4}

    def test_an_error_says_whether_to_ask_again(self, seen: Seen) -> None:
        saw = seen(*self.CLIENT, "error")
        assert (saw["status"], saw["retryable"]) == (404, False)
        assert "'nobody' does not exist" in saw["message"]
