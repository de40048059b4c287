from __future__ import annotations

import pytest

from inference_service.engines.prompt_template import to_jinja


def test_jinja_stays_as_it_is() -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert to_jinja(template) == template


def test_jans_template_is_split_at_its_places() -> None:
    template = to_jinja('<s>"{system_message}\n<u>{prompt}\n<a>')
    assert "== 'assistant' -%}{{ \"\\n<a>\" + message['content'] }}" in template
    assert '{{ "<s>\\"" + message[\'content\'] }}' in template
    assert "{%- else -%}{{ \"\\n<u>\" + message['content'] }}" in template
    assert template.endswith('{%- if add_generation_prompt -%}{{ "\\n<a>" }}{%- endif -%}')


@pytest.mark.parametrize("template", ["", "no place", "{system_message}"])
def test_a_template_without_a_prompt_is_none(template: str) -> None:
    with pytest.raises(ValueError, match="prompt"):
        to_jinja(template)
