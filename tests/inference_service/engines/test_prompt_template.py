"""Jan's prompts as chat templates: what each generation of model.json makes of one conversation."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from inference_service.engines.client import EngineClient
from inference_service.engines.model_settings import ModelSettings
from inference_service.engines.prompt_template import ChatTemplate, add_stops, chat_template, to_chat_template
from jan.ids import ModelId
from storage_service.store.layout import Layout
from storage_service.store.models import Models
from tests.fixtures.jan_files import put
from tests.inference_service.engines.test_llamacpp import make_engine

TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "How are you?"},
]
TALK = [{"role": "system", "content": "Be brief."}, *TURNS]

CHATML = "<|im_start|>system\n{system_message}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
CHATML_TALK = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!"
    "<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n"
)
ZEPHYR = "<|system|>\n{system_message}</s>\n<|user|>\n{prompt}</s>\n<|assistant|>\n"
ZEPHYR_TALK = (
    "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n"
    "<|assistant|>\nHello!</s>\n<|user|>\nHow are you?</s>\n<|assistant|>\n"
)

DRAFT = {"source_url": "demo.gguf", "parameters": {"ctx_len": 1024, "prompt_template": CHATML, "temperature": 0.7}}
STRINGS = {
    "source_url": "demo.gguf",
    "format": "ggufv3",
    "settings": {"ctx_len": "1024", "prompt_template": ZEPHYR, "embedding": "false"},
}
SPLIT = {
    "source_url": "demo.gguf",
    "format": "gguf",
    "settings": {
        "ctx_len": 1024,
        "system_prompt": "<|im_start|>system\n",
        "user_prompt": "<|im_end|>\n<|im_start|>user\n",
        "ai_prompt": "<|im_end|>\n<|im_start|>assistant\n",
    },
}
FOURTH = {
    "sources": [{"filename": "demo.gguf", "url": "https://hub.example/demo.gguf"}],
    "format": "gguf",
    "settings": {"ctx_len": 1024, "prompt_template": "[INST] {prompt} [/INST]", "llama_model_path": "demo.gguf"},
    "engine": "nitro",
}
RENAMED = {"sources": "N/A", "engine_parameters": {"ctx_len": 1024, "prompt_template": CHATML}, "engine": "nitro"}
CORTEX = "files: [demo.gguf]\nmodel: demo\nengine: llama-cpp\nctx_len: 1024\nprompt_template: " + json.dumps(ZEPHYR)
SIXTH = "model_path: llamacpp/models/demo/demo.gguf\nname: demo\nsize_bytes: 4\n"

GENERATIONS: dict[str, tuple[str, dict[str, Any] | str, str]] = {
    "1 one map": ("models/demo/q4.json", DRAFT, CHATML_TALK),
    "2 all text": ("models/demo/model.json", STRINGS, ZEPHYR_TALK),
    "3 split": ("models/demo/model.json", SPLIT, CHATML_TALK),
    "4 one template": (
        "models/demo/model.json",
        FOURTH,
        "Be brief.[INST] Hi [/INST]Hello![INST] How are you? [/INST]",
    ),
    "4 renamed": ("models/demo/model.json", RENAMED, CHATML_TALK),
    "5 cortex": ("models/demo/demo.yml", CORTEX, ZEPHYR_TALK),
    "6 the file's own": ("llamacpp/models/demo/model.yml", SIXTH, CHATML_TALK),
}


async def prompt_of(weights: Path, run_dir: Path, settings: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    """What llama.cpp makes of a conversation."""
    engine = make_engine(weights, run_dir, **settings)
    try:
        async with EngineClient(await engine.start()) as client:
            applied = await client._session.post("http://engine/apply-template", json={"messages": messages})
            return str((await applied.json())["prompt"])
    finally:
        await engine.stop()


@pytest.mark.engine
@pytest.mark.parametrize("generation", GENERATIONS)
async def test_every_generation_tells_a_conversation_as_jan_did(
    generation: str, tmp_path: Path, demo_gguf: Path, run_dir: Path
) -> None:
    name, description, told = GENERATIONS[generation]
    put(tmp_path / name, description)
    put(tmp_path / name.rpartition("/")[0] / "demo.gguf", b"GGUF")
    model_id = ModelId("demo/q4") if generation.startswith("1") else ModelId("demo")
    model = await asyncio.to_thread(lambda: Models(Layout(tmp_path)).get(model_id))
    assert (model.engine, model.files) == ("llamacpp", ("demo.gguf",))
    assert await prompt_of(demo_gguf, run_dir, model.settings, TALK) == told


@pytest.mark.engine
@pytest.mark.parametrize(
    ("settings", "messages", "told"),
    [
        (
            {"prompt_template": CHATML},
            TURNS,
            CHATML_TALK.replace("Be brief.", ""),
        ),
        (
            {"prompt_template": "{system_message}\nUSER: {prompt}\nASSISTANT:", "pre_prompt": "A talk."},
            [*TURNS, {"role": "system", "content": "Be brief."}],
            "Be brief.A talk.\nUSER: Hi\nASSISTANT:Hello!\nUSER: How are you?\nASSISTANT:",
        ),
        (
            {"user_prompt": "Q: ", "ai_prompt": "\nA: "},
            TALK,
            "ASSISTANT's RULE: Be brief.Q: Hi\nA: Hello!Q: How are you?\nA: ",
        ),
        (
            {"prompt_template": "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"},
            TURNS,
            "<user>Hi<assistant>Hello!<user>How are you?",
        ),
    ],
    ids=["no system text", "pre_prompt, and a system text that comes late", "nitro's own parts", "Jinja"],
)
async def test_templates(
    settings: dict[str, Any], messages: list[dict[str, Any]], told: str, demo_gguf: Path, run_dir: Path
) -> None:
    assert await prompt_of(demo_gguf, run_dir, settings, messages) == told


@pytest.mark.engine
async def test_a_text_that_looks_like_a_program_stays_a_text(demo_gguf: Path, run_dir: Path) -> None:
    template = 'He said "{system_message}" \\n {# no comment #}{prompt}\t-> '
    told = await prompt_of(demo_gguf, run_dir, {"prompt_template": template}, TALK[:2])
    assert told == 'He said "Be brief." \\n {# no comment #}Hi\t-> '


def test_jinja_stays_as_it_is() -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert to_chat_template(template) == ChatTemplate(template)


@pytest.mark.parametrize(
    ("template", "stops"),
    [
        (CHATML, ["<|im_end|>", "<|im_end|>\n<|im_start|>user"]),
        ("{system_message}\nUSER: {prompt}\nASSISTANT:", ["<|im_end|>", "USER:"]),
        ("> {prompt}\n", ["<|im_end|>"]),
        ("{{ messages }}", []),
    ],
)
def test_an_answer_ends_where_the_user_would_speak(template: str, stops: list[str]) -> None:
    assert list(to_chat_template(template).stops) == stops


def test_stops_of_a_template_stand_beside_those_of_the_request() -> None:
    for asked, told in ((None, ["b"]), ("a", ["a", "b"]), (["a"], ["a", "b"])):
        body: dict[str, Any] = {} if asked is None else {"stop": asked}
        add_stops(body, ("b",))
        assert body["stop"] == told
    untouched: dict[str, Any] = {}
    add_stops(untouched, ())
    assert untouched == {}


@pytest.mark.parametrize("template", ["", "no place", "{system_message}"])
def test_a_template_without_a_prompt_is_none(template: str) -> None:
    with pytest.raises(ValueError, match="prompt"):
        to_chat_template(template)


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        ({"prompt_template": "no place"}, "Setting prompt_template is not used: it has no {prompt}"),
        ({"prompt_template": CHATML, "user_prompt": "x"}, "Setting user_prompt is not used because prompt_template"),
        ({"pre_prompt": "x"}, "Setting pre_prompt is not used without a prompt_template"),
        ({"prompt_template": "{{ messages }}", "pre_prompt": "x"}, "Setting pre_prompt is not used with a Jinja"),
    ],
)
def test_what_is_not_used_of_a_prompt_is_told(settings: dict[str, Any], warning: str) -> None:
    read = ModelSettings(json.dumps(settings))
    chat_template(read)
    assert len(read.finish("llamacpp")) == 1
    assert read.finish("llamacpp")[0].startswith(warning)
