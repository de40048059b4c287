"""Try chat templates as vLLM renders them: `python -I jinja_trial.py <folder>`, by the Python that has vLLM.

transformers renders with this sandbox. It refuses tricks with attributes and long ranges, but not loops within loops
or texts that double. Run as a plain file, so it imports nothing of ours; the folder holds `trial.json`.
"""

import json
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_UNSAFE = (SecurityError, MemoryError, RecursionError)


class Generation(Extension):  # type: ignore[misc]  # jinja2 is in vLLM's environment only
    """`{% generation %}`, which transformers knows: what is inside is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012  # as jinja2 has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The nodes between the tags."""
        next(parser.stream)
        inside: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return inside


def main(folder: Path) -> None:
    """Ends as `trial_limits.py` says."""
    trial = json.loads((folder / "trial.json").read_text("utf-8"))
    limits = trial["limits"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (limits["memory_bytes"], limits["memory_bytes"]))
    templates = [trial["instead"]] if trial["instead"] else list(trial["templates"].values())
    try:
        for template in templates:
            for conversation in trial["conversations"]:
                if len(_render(template, conversation)) > limits["prompt_bytes"]:
                    sys.exit(limits["unsafe"])
    except _UNSAFE:
        sys.exit(limits["unsafe"])


def _render(template: str, conversation: dict[str, Any]) -> str:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value)
    environment.globals |= {"raise_exception": _refuse, "strftime_now": datetime.now(UTC).strftime}
    try:
        marks = {"bos_token": "<s>", "eos_token": "</s>"}
        prompt: str = environment.from_string(template).render(**conversation, **marks, add_generation_prompt=True)
    except _UNSAFE:
        raise
    except Exception:  # noqa: BLE001  # templates raise whatever they like, and the other conversations count too
        return ""  # merely wrong, or not for such conversations: vLLM itself tells
    return prompt


def _refuse(message: str) -> None:
    raise TemplateError(message)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
