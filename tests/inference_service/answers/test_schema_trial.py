"""Schemas that harm whoever compiles them, tried without the bounds that refuse those which are known."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from inference_service.answers.binding import Binding
from inference_service.answers.schema_trial import SchemaTrial
from jan.errors import InvalidArgumentError
from jan.tasks import end

_WITHOUT_BOUNDS = """
from inference_service.answers import binding, schema_trial
binding.too_much = lambda *_: ''
schema_trial.main()
"""
UNBOUNDED = (sys.executable, "-c", _WITHOUT_BOUNDS)
HARMFUL: dict[str, dict[str, Any]] = {
    "it ends the process": {"const": -(2**63)},
    "it computes without end": {"type": "string", "allOf": [{"pattern": f"a{{{n},}}.*b{n}"} for n in range(1, 31)]},
}


@pytest.mark.parametrize("schema", HARMFUL.values(), ids=HARMFUL.keys())
async def test_a_schema_that_harms_is_refused_and_harms_nobody(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="too much to compile") as caught:
        await SchemaTrial(UNBOUNDED).check(Binding(schema, "response_format"))
    assert (caught.value.param, caught.value.code) == ("response_format", "schema_too_complex")


@pytest.mark.parametrize("schema", [{"type": "object"}, {"type": "string", "pattern": "^(?=a)b$"}, {"const": -(2**63)}])
async def test_any_other_passes_and_one_that_is_refused_in_words_too(schema: dict[str, Any]) -> None:
    await SchemaTrial().check(Binding(schema, "response_format"))


async def test_what_was_tried_waits_for_no_other() -> None:
    known, new = (Binding({"const": name}, "response_format") for name in ("known", "new"))
    trial = SchemaTrial(
        (sys.executable, "-c", "import sys, time; time.sleep(b'new' in sys.stdin.buffer.read() and 30)")
    )
    await trial.check(known)
    waiting = asyncio.create_task(trial.check(new))
    await asyncio.sleep(0)  # it has the turn now
    await trial.check(known)
    assert not waiting.done()
    await end(waiting)


@pytest.mark.parametrize("ends_well", [True, False])
async def test_what_was_tried_once_is_not_tried_again(ends_well: bool) -> None:
    trial = SchemaTrial((sys.executable, "-c", f"raise SystemExit({int(not ends_well)})"))
    binding = Binding({"type": "object"}, "response_format")
    for _ in range(2):
        if ends_well:
            await trial.check(binding)
        else:
            with pytest.raises(InvalidArgumentError):
                await trial.check(binding)
        trial._command = ("/nobody/is/here",)
