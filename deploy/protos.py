"""Write the Python stubs of the protos, or check that the committed ones are what the protos say.

Usage: `python -m deploy.protos write` or `python -m deploy.protos check` (`make protos`, `make proto-check`).
The stubs lie beside their proto, so that package `jan.storage.v1` imports as `jan.storage.v1`.
"""

import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc_tools

PROTOS = Path(__file__).resolve().parent.parent / "protos"
STUB_PATTERNS = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(target: Path) -> None:
    """Write the stubs of every proto below `target`, in the protos' own folders."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    # protoc finds the type plug-ins on PATH; they are installed beside this Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # Every stub and servicer of ours is asynchronous; saying so halves the types.
    outputs = [
        f"--{kind}{target}" for kind in ("python_out=", "mypy_out=", "grpc_python_out=", "mypy_grpc_out=only_async:")
    ]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{well_known}", *outputs, *sources],
        env={**os.environ, "PATH": path},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )


def stubs_below(folder: Path) -> set[Path]:
    """Every generated file below `folder`, as a path relative to it."""
    return {path.relative_to(folder) for pattern in STUB_PATTERNS for path in folder.rglob(pattern)}


def stale_stubs(fresh: Path) -> list[Path]:
    """The committed stubs that differ from those below `fresh`, are missing, or belong to no proto any more."""
    return sorted(
        stub
        for stub in stubs_below(PROTOS) | stubs_below(fresh)
        if not ((PROTOS / stub).exists() and (fresh / stub).exists())
        or not filecmp.cmp(PROTOS / stub, fresh / stub, shallow=False)
    )


def check() -> int:
    """Say which stubs are stale; 0 when none is."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        stale = stale_stubs(Path(folder))
    for stub in stale:
        print(f"protos/{stub} is not what its proto says: run `make protos` and commit.", file=sys.stderr)
    return 1 if stale else 0


def main(command: str) -> int:
    """Run one of the two commands and return the exit code."""
    try:
        if command == "check":
            return check()
        generate(PROTOS)
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr, end="")
        return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["write"], ["check"]):
        sys.exit("usage: python -m deploy.protos write|check")
    sys.exit(main(sys.argv[1]))
