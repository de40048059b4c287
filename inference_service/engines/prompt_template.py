"""Jan's prompt templates (`[INST] {prompt} [/INST]`) as the Jinja chat templates that engines understand.

Jan split a template at `{system_message}` and `{prompt}` into what goes before a system text, before a user's text and
before the assistant's. Its engine, nitro, then wrote the system text first, `pre_prompt` behind it, and each message of
the conversation behind its part, and ended an answer where the model began a user's turn by itself. The same is said
here in Jinja, with one difference: without a system text the system part is written all the same, because a user part
often begins with what closes it (`<|im_end|>`, `<</SYS>>`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference_service.engines.model_settings import ModelSettings

_PARTS: Final = ("system_prompt", "user_prompt", "ai_prompt")
_NITROS_PARTS: Final = ("ASSISTANT's RULE: ", "USER: ", "ASSISTANT: ")
"""What nitro wrote for a part that a model did not name."""

_SHORTEST_STOP: Final = 2


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A chat template in Jinja, "" for the model's own. stops: texts at which an answer ends beside the model's own."""

    jinja: str = ""
    stops: tuple[str, ...] = ()


def chat_template(settings: ModelSettings) -> ChatTemplate:
    """The template from `prompt_template`, else from the older three parts; what is not used becomes a warning."""
    template, pre_prompt = settings.text("prompt_template"), settings.text("pre_prompt")
    parts = {name: settings.optional_text(name) for name in _PARTS}
    named = [name for name, part in parts.items() if part is not None]
    if template:
        _warn(settings, named, "because prompt_template is set")
        return _from_template(settings, template, pre_prompt)
    if named:
        system, user, assistant = (
            nitros if parts[name] is None else parts[name] or ""
            for name, nitros in zip(_PARTS, _NITROS_PARTS, strict=True)
        )
        return from_parts(system, user, assistant, pre_prompt)
    _warn(settings, ["pre_prompt"] if pre_prompt else [], "without a prompt_template")
    return ChatTemplate()


def to_chat_template(template: str, pre_prompt: str = "") -> ChatTemplate:
    """A chat template; text that is already Jinja stays as it is. Raises ValueError: there is no place for a prompt."""
    if is_jinja(template):
        return ChatTemplate(template)
    before, prompt, assistant_part = template.partition("{prompt}")
    if not prompt:
        raise ValueError("it has no {prompt}")
    system_part, system, user_part = before.partition("{system_message}")
    if not system:
        system_part, user_part = "", before
    return from_parts(system_part, user_part, assistant_part, pre_prompt)


def is_jinja(template: str) -> bool:
    """Whether a prompt template is a program, not Jan's text with places in it."""
    return "{%" in template or "{{" in template


def from_parts(system_part: str, user_part: str, assistant_part: str, pre_prompt: str = "") -> ChatTemplate:
    """A chat template from the texts that go before a system, a user's and the assistant's message."""
    system, user, assistant, pre = (_literal(part) for part in (system_part, user_part, assistant_part, pre_prompt))
    always = "true" if system_part else "said.system"
    jinja = (
        "{%- set said = namespace(system='') -%}"
        "{%- for message in messages -%}{%- if message['role'] in ['system', 'developer'] -%}"
        "{%- set said.system = said.system + ('\\n' if said.system else '') + (message['content'] or '') -%}"
        "{%- endif -%}{%- endfor -%}"
        "{%- if " + always + " -%}{{ " + system + " + said.system }}{%- endif -%}"
        "{{ " + pre + " }}"
        "{%- for message in messages -%}"
        "{%- if message['role'] == 'assistant' -%}{{ " + assistant + " + (message['content'] or '') }}"
        "{%- elif message['role'] not in ['system', 'developer'] -%}{{ " + user + " + (message['content'] or '') }}"
        "{%- endif -%}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ " + assistant + " }}{%- endif -%}"
    )
    return ChatTemplate(jinja, ("<|im_end|>", *_stop_of(user_part)))


def add_stops(body: dict[str, Any], stops: Sequence[str]) -> None:
    """Have a chat end at a template's stops, too, beside those that its request names."""
    if stops:
        asked = body.get("stop") or []
        body["stop"] = [*([asked] if isinstance(asked, str) else asked), *stops]


def _from_template(settings: ModelSettings, template: str, pre_prompt: str) -> ChatTemplate:
    try:
        made = to_chat_template(template, pre_prompt)
    except ValueError as error:
        settings.warnings.append(f"Setting prompt_template is not used: {error}; the model's own template is.")
        return ChatTemplate()
    _warn(settings, ["pre_prompt"] if pre_prompt and made.jinja == template else [], "with a Jinja template")
    return made


def _stop_of(user_part: str) -> tuple[str, ...]:
    """Where a user's turn begins, unless that is too little to be told from an answer."""
    mark = user_part.strip()
    return (mark,) if len(mark) >= _SHORTEST_STOP else ()


def _warn(settings: ModelSettings, names: list[str], why: str) -> None:
    settings.warnings += [f"Setting {name} is not used {why}." for name in names]


def _literal(text: str) -> str:
    """A Jinja string literal; JSON's escapes mean the same there."""
    return json.dumps(text, ensure_ascii=False)
