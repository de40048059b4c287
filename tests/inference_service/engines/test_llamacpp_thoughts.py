"""Thoughts in front of an answer that is bound, with templates as thinking models have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from inference_service.engines.client import EngineClient
from inference_service.engines.llamacpp_thoughts import Thoughts
from tests.inference_service.engines.asking import formatted, in_object, whole
from tests.inference_service.engines.test_llamacpp import make_engine

SCHEMA = in_object({"type": "string", "pattern": "^[a-z]{3}$"})
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 12, "temperature": 0}
TEMPLATE = """{%- for message in messages -%}<|im_start|>{{ message['role'] }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message['content'] or '' }}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
OPENING{% endif -%}"""
CLOSED = (
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
)


def takes(thoughts: Thoughts, text: str, *, wanted: bool = True) -> bool:
    matcher = LLMatcher(LLTokenizer("byte"), thoughts.bind(SCHEMA, wanted=wanted)["grammar"], log_level=0)
    return bool(matcher.consume_tokens(list(text.encode()))) and matcher.is_accepting()


def test_thoughts_are_let_by_where_they_may_be() -> None:
    answer, thought = '{"a":"abc"}', 'First {"a":1}, then.\n</think>\n\n{"a":"abc"}'
    assert [takes(Thoughts(), text) for text in (answer, thought)] == [True, False]
    may = Thoughts(may_begin=True)
    assert [takes(may, text) for text in (answer, thought, f"<think>\n{thought}")] == [True, False, True]
    assert not takes(may, '<think>x</think>{"a":"abcd"}')
    begins = Thoughts(may_begin=True, begins=True)
    assert [takes(begins, text) for text in (answer, thought)] == [False, True]
    assert [takes(begins, text, wanted=False) for text in (answer, thought)] == [True, False]
    anyway = Thoughts(may_begin=True, begins=True, begins_anyway=True)
    assert [takes(anyway, text, wanted=False) for text in (answer, thought)] == [False, True]


@pytest.mark.engine
@pytest.mark.parametrize(
    ("opening", "thoughts"),
    [
        ("", Thoughts(may_begin=True)),
        ("<think>\n", Thoughts(may_begin=True, begins=True, begins_anyway=True)),
        (CLOSED, Thoughts(may_begin=True, begins=True)),
    ],
)
async def test_a_bound_answer_comes_behind_thoughts(
    demo_gguf: Path, run_dir: Path, opening: str, thoughts: Thoughts
) -> None:
    engine = make_engine(demo_gguf, run_dir, prompt_template=TEMPLATE.replace("OPENING", opening))
    async with EngineClient(await engine.start()) as client:
        assert await Thoughts.of(client, TEMPLATE) == thoughts
        said = (await whole(engine, client, {**ASKED, **formatted(SCHEMA)}))["choices"][0]["message"]
        assert said["reasoning_content"] or json.loads(said["content"])
        if not thoughts.begins_anyway:
            quiet = {**ASKED, **formatted(SCHEMA), "reasoning_effort": "none"}
            assert json.loads((await whole(engine, client, quiet))["choices"][0]["message"]["content"])["a"]
    await engine.stop()
