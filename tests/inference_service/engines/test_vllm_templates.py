"""Templates that harm whoever runs them, tried as vLLM renders them: `make test-vllm`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inference_service.engines.template_check import TemplateCheck
from jan.errors import FailedPreconditionError
from jan.formats.hf_templates import chat_templates
from tests.inference_service.engines.test_template_check import HARMLESS, HOSTILE

pytestmark = pytest.mark.vllm

# The sandbox bounds ranges itself: such templates are merely wrong there.
_BOUNDED = {"a long loop", "only with tools"}
_REFUSED = {
    **{name: template for name, template in HOSTILE.items() if name not in _BOUNDED},
    "attribute tricks": "{{ ''.__class__.__mro__ }}",
    "not where the first conversation fails": "{% if messages|length == 1 %}{{ cycler() }}{% endif %}"
    + HOSTILE["loops within loops"],
    "a loop with tools": "{% if tools %}" + HOSTILE["loops within loops"] + "{% endif %}",
}
_PASSED = {
    **{name: template for name, template in HARMLESS.items() if not name.startswith("attribute")},
    **{name: HOSTILE[name] for name in sorted(_BOUNDED)},
    "marks of what was generated": "{% generation %}{{ messages[0].content }}{% endgeneration %}",
    "a date": "{{ strftime_now('%d %b %Y') }}{{ messages | tojson }}{% for m in messages %}{% break %}{% endfor %}",
}


@pytest.mark.parametrize("template", _REFUSED.values(), ids=_REFUSED.keys())
async def test_what_burns_or_eats_or_tricks_is_refused(vllm_python: Path, run_dir: Path, template: str) -> None:
    with pytest.raises(FailedPreconditionError, match="chat template of model m is not safe") as caught:
        await TemplateCheck.in_vllm(vllm_python, run_dir).check("m", {"": template}, "", run_dir / "log")
    assert caught.value.code == "template_unsafe"


async def test_a_broken_template_does_not_hide_the_next(vllm_python: Path, run_dir: Path) -> None:
    nested = "{% for a in [1] %}" * 25 + "{% endfor %}" * 25  # more than Python compiles
    templates = {"a": nested, "default": HOSTILE["loops within loops"]}
    with pytest.raises(FailedPreconditionError, match="not safe"):
        await TemplateCheck.in_vllm(vllm_python, run_dir).check("m", templates, "", run_dir / "log")


@pytest.mark.parametrize("template", _PASSED.values(), ids=_PASSED.keys())
async def test_what_is_harmless_passes(vllm_python: Path, run_dir: Path, template: str) -> None:
    await TemplateCheck.in_vllm(vllm_python, run_dir).check("m", {"": template}, "", run_dir / "log")


async def test_the_demo_models_template_passes(vllm_python: Path, vllm_models: Path, run_dir: Path) -> None:
    templates = await asyncio.to_thread(chat_templates, vllm_models / "demo")
    assert templates
    await TemplateCheck.in_vllm(vllm_python, run_dir).check("m", templates, "", run_dir / "log")
