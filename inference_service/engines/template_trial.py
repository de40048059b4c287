"""Try chat templates in llama.cpp's own interpreter: `python -m inference_service.engines.template_trial <folder>`.

Templates are programs that come along with models, and llama.cpp runs them without bounds: a loop of a billion kept its
thread busy for ever, a doubling text took half a gigabyte a second, and a macro that calls itself ended the process. So
they run here first, in a model of a few kilobytes, under limits of time and memory (docs/security.md S21). The folder
holds `trial.json`, made by `trial_limits.py`.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from inference_service.engines.tiny_gguf import tiny_gguf

_OUT_OF_MEMORY: Final = ("bad_alloc", "length_error", "basic_string", "_M_")


def main(folder: Path) -> None:
    """Ends as `trial_limits` says."""
    trial = json.loads((folder / "trial.json").read_text("utf-8"))
    limits = trial["limits"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (limits["memory_bytes"], limits["memory_bytes"]))
    try:
        server = _serve(folder, trial["templates"], trial["instead"])
    except (RuntimeError, MemoryError) as error:
        if _ran_out(str(error)):
            _end(limits["unsafe"])
        if not trial["templates"] and not trial["instead"]:
            raise
        _start_over(folder, trial)
    for body in trial["conversations"]:
        status, answer = _ask(folder / "s.sock", body)
        if len(answer) > limits["prompt_bytes"] or (status >= 500 and _ran_out(answer.decode("utf-8", "replace"))):
            _end(limits["unsafe"])
    del server
    _end(0)


def _serve(folder: Path, templates: Mapping[str, str], instead: str) -> object:
    """A server with these templates on `s.sock`. Raises RuntimeError, MemoryError."""
    from xllamacpp import CommonParams, Server  # noqa: PLC0415  # after the parent's checks, and only in this child

    model, server_socket = folder / "trial.gguf", folder / "s.sock"
    server_socket.unlink(missing_ok=True)  # of the one before, which it does not replace
    model.write_bytes(tiny_gguf(templates))
    params = CommonParams()
    params.model.path = str(model)
    params.hostnames = [str(server_socket)]
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 64, 1, 1
    params.warmup = params.ui = False
    params.cache_ram_mib = 0
    params.verbosity = 0
    params.chat_template = instead
    return Server(params)


def _start_over(folder: Path, trial: Mapping[str, Any]) -> NoReturn:
    """Try no templates at all: the server does not say why it failed, but if it starts so, they are merely wrong.

    The engine itself tells of that. In a new process, since a second server in one may wait for ever.
    """
    (folder / "trial.json").write_text(json.dumps({**trial, "templates": {}, "instead": ""}), "utf-8")
    os.execv(sys.executable, (sys.executable, "-m", __spec__.name, str(folder)))  # noqa: S606  # ourselves


def _ask(path: Path, body: dict[str, Any]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("engine")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("POST", "/apply-template", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def _ran_out(message: str) -> bool:
    return not message or any(word in message for word in _OUT_OF_MEMORY)


def _end(code: int) -> None:
    """At once: the server's threads may still be at work."""
    print(f"template trial: {code}, {resource.getrusage(resource.RUSAGE_SELF).ru_utime:.2f} s", flush=True)  # noqa: T201
    os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
