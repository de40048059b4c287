"""Whether a model's chat templates may be used: tried in a child with limits before the engine reads them (S21)."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from inference_service.engines.process import EngineProcess, ProcessExitedError, describe_exit
from inference_service.engines.trial_limits import CPU_SECONDS, UNSAFE, trial_json
from jan.errors import FailedPreconditionError, UnavailableError

_JINJA_TRIAL: Final = Path(__file__).with_name("jinja_trial.py")
_UNSAFE_ENDS: Final = (
    UNSAFE,
    *(-n for n in (signal.SIGXCPU, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE)),
)
_DEADLINE: Final = timedelta(seconds=60)  # of the clock; its two seconds of computing are the child's own limit
_POLL_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class TemplateCheck:
    """One interpreter of templates, and where it keeps what it has found good."""

    argv: tuple[str, ...]
    run_dir: Path

    @classmethod
    def in_llamacpp(cls, run_dir: Path) -> TemplateCheck:
        """As llama.cpp renders."""
        return cls((sys.executable, "-m", "inference_service.engines.template_trial"), run_dir)

    @classmethod
    def in_vllm(cls, python: Path, run_dir: Path) -> TemplateCheck:
        """As vLLM renders; `python` is the interpreter that has it."""
        return cls((str(python), "-I", str(_JINJA_TRIAL)), run_dir)

    async def check(self, model_id: str, templates: Mapping[str, str], instead: str, log: Path) -> None:
        """Return when the templates, or the one to be used instead of them, render within bounds.

        What they are good for is not asked. Templates that passed once are not tried again. Raises
        FailedPreconditionError: they do not. UnavailableError: they could not be tried.
        """
        trial = trial_json(templates, instead)
        if not templates and not instead:
            return
        passed = self.run_dir / "templates" / hashlib.sha256(f"{self.argv} {trial}".encode()).hexdigest()
        if await asyncio.to_thread(passed.exists):
            return
        folder = Path(await asyncio.to_thread(self._prepare, trial))
        try:
            await self._try(model_id, folder, log)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await asyncio.to_thread(passed.touch)

    def _prepare(self, trial: str) -> str:
        (self.run_dir / "templates").mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="t", dir=self.run_dir)  # its name is short enough for a socket
        (Path(folder) / "trial.json").write_text(trial, "utf-8")
        return folder

    async def _try(self, model_id: str, folder: Path, log: Path) -> None:
        process = EngineProcess((*self.argv, str(folder)), {}, log, poll_seconds=_POLL_SECONDS)
        try:
            await process.start(_never, _DEADLINE)
        except ProcessExitedError as exited:
            if exited.returncode in _UNSAFE_ENDS:
                message = (
                    f"The chat template of model {model_id} is not safe: it takes more than {CPU_SECONDS} s or a "
                    "gigabyte, or ends its interpreter. Another one can be set as prompt_template."
                )
                raise FailedPreconditionError(message, code="template_unsafe") from None
            if exited.returncode != 0:
                message = f"The trial of the model's chat template {describe_exit(exited.returncode)}."
                raise UnavailableError(message, code="engine_start_failed", retry_after_seconds=5) from None


async def _never() -> bool:
    """A trial does not become ready, it ends."""
    return False
