"""Templates that harm whoever runs them, tried in llama.cpp's own interpreter."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from inference_service.engines.template_check import TemplateCheck
from jan.errors import FailedPreconditionError, UnavailableError
from jan.formats import gguf_texts
from jan.formats.gguf import read_gguf

pytestmark = pytest.mark.engine

OWN = "tokenizer.chat_template"
HOSTILE = {
    "a long loop": "{% for i in range(1000000000) %}{% endfor %}x",
    "loops within loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x",
    "a text that doubles": "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{%endfor%}",
    "a list that doubles": "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = n.l + n.l %}{%endfor%}",
    "a long text": "{{ 'x' * 100000000000 }}",
    "a macro that calls itself": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "depth": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "a long prompt": "{% for i in range(9999) %}{{ 'x' * 1000 }}{% endfor %}",
    "only with tools": "{% if tools %}{% for i in range(1000000000) %}{% endfor %}{% endif %}x",
    "not in the first conversation": "{% if messages|length == 1 %}{{ raise_exception('no') }}{{ cycler() }}{% endif %}"
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
}
HARMLESS = {
    "plain": "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}",
    "attribute tricks, which come to nothing": "{{ ''.__class__.__mro__ }}{{ messages[0].content }}",
    "a refusal": "{{ raise_exception('no system role') }}",
    "a mistake, which the engine tells itself": "{% for %}",
    "a filter that it does not have": "{{ messages | frobnicate }}",
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE.keys())
async def test_what_burns_or_eats_or_kills_is_refused(run_dir: Path, template: str) -> None:
    with pytest.raises(FailedPreconditionError, match="chat template of model m is not safe") as caught:
        await TemplateCheck.in_llamacpp(run_dir).check("m", {OWN: template}, "", run_dir / "log")
    assert caught.value.code == "template_unsafe"
    assert await found(run_dir, "**/*") == ["log", "templates"]


async def test_a_template_that_is_set_instead_counts(run_dir: Path) -> None:
    check = TemplateCheck.in_llamacpp(run_dir)
    with pytest.raises(FailedPreconditionError, match="not safe"):
        await check.check("m", {OWN: HARMLESS["plain"]}, HOSTILE["a macro that calls itself"], run_dir / "log")


async def test_each_template_counts(run_dir: Path) -> None:
    check = TemplateCheck.in_llamacpp(run_dir)
    templates = {OWN: HOSTILE["loops within loops"], f"{OWN}.tool_use": "{% for %}"}
    with pytest.raises(FailedPreconditionError, match="not safe"):
        await check.check("m", templates, "", run_dir / "log")


@pytest.mark.parametrize("ends", ["raise SystemExit(1)", "raise SystemExit(127)", "import os; os.kill(os.getpid(), 9)"])
async def test_a_trial_that_was_none_proves_nothing(run_dir: Path, ends: str) -> None:
    check = TemplateCheck((sys.executable, "-c", ends), run_dir)
    with pytest.raises(UnavailableError, match=r"The trial of the model's chat template (ended|was killed)") as caught:
        await check.check("m", {OWN: HARMLESS["plain"]}, "", run_dir / "log")
    assert caught.value.code == "engine_start_failed"
    assert await found(run_dir, "templates/*") == []


async def test_a_trial_without_a_server_proves_nothing(tmp_path: Path) -> None:
    run_dir = tmp_path / ("d" * 120)  # too long for the socket of llama.cpp's server
    with pytest.raises(UnavailableError):
        await TemplateCheck.in_llamacpp(run_dir).check("m", {OWN: HARMLESS["plain"]}, "", tmp_path / "log")
    assert await found(run_dir, "templates/*") == []


@pytest.mark.parametrize("template", HARMLESS.values(), ids=HARMLESS.keys())
async def test_what_is_harmless_passes_and_is_remembered(run_dir: Path, template: str) -> None:
    check = TemplateCheck.in_llamacpp(run_dir)
    await check.check("m", {OWN: template}, "", run_dir / "log")
    assert len(await found(run_dir, "templates/*")) == 1
    await check.check("m", {OWN: template}, "", run_dir / "second")
    assert await found(run_dir, "second") == []


async def test_the_demo_models_template_passes(run_dir: Path, demo_gguf: Path) -> None:
    templates = await asyncio.to_thread(templates_of, demo_gguf)
    assert templates
    await TemplateCheck.in_llamacpp(run_dir).check("m", templates, "", run_dir / "log")


async def test_a_model_without_templates_needs_no_trial(run_dir: Path) -> None:
    await TemplateCheck.in_llamacpp(run_dir).check("m", {}, "", run_dir / "log")
    assert await found(run_dir, "*") == []


async def found(folder: Path, pattern: str) -> list[str]:
    return await asyncio.to_thread(lambda: sorted(str(path.relative_to(folder)) for path in folder.glob(pattern)))


def templates_of(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return gguf_texts.chat_templates(file, read_gguf(file, path.stat().st_size))
