"""Jan's prompt templates (`[INST] {prompt} [/INST]`) as the Jinja chat templates that engines understand.

Jan split a template at `{system_message}` and `{prompt}` into what goes before a system text, before a user's text and
before the assistant's; nitro then wrote each message behind its part. The same is said here in Jinja.
"""

from __future__ import annotations

import json

from inference_service.engines.model_settings import ModelSettings


def chat_template(settings: ModelSettings) -> str:
    """The template from `prompt_template`, else from the older three parts; "" for the model's own."""
    template = settings.text("prompt_template")
    system, user, assistant = (settings.text(name) for name in ("system_prompt", "user_prompt", "ai_prompt"))
    if not template:
        return from_parts(system, user, assistant) if user and assistant else ""
    try:
        return to_jinja(template)
    except ValueError as error:
        settings.warnings.append(f"Setting prompt_template is not used: {error}; the model's own template is.")
        return ""


def to_jinja(template: str) -> str:
    """A chat template; text that is already Jinja stays as it is. Raises ValueError: there is no place for a prompt."""
    if "{%" in template or "{{" in template:
        return template
    before, prompt, assistant_part = template.partition("{prompt}")
    if not prompt:
        raise ValueError("it has no {prompt}")
    system_part, system, user_part = before.partition("{system_message}")
    if not system:
        system_part, user_part = "", before
    return from_parts(system_part, user_part, assistant_part)


def from_parts(system_part: str, user_part: str, assistant_part: str) -> str:
    """A chat template from the texts that go before a system, a user's and the assistant's message."""
    system, user, assistant = (_literal(part) for part in (system_part, user_part, assistant_part))
    return (
        "{%- for message in messages -%}"
        "{%- if message['role'] in ['system', 'developer'] -%}{{ " + system + " + message['content'] }}"
        "{%- elif message['role'] == 'assistant' -%}{{ " + assistant + " + message['content'] }}"
        "{%- else -%}{{ " + user + " + message['content'] }}"
        "{%- endif -%}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ " + assistant + " }}{%- endif -%}"
    )


def _literal(text: str) -> str:
    """A Jinja string literal; JSON's escapes mean the same there."""
    return json.dumps(text, ensure_ascii=False)
