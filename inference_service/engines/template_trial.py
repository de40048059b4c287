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
from pathlib import Path
from typing import Any, Final

from inference_service.engines.tiny_gguf import tiny_gguf

_OUT_OF_MEMORY: Final = ("bad_alloc", "length_error", "basic_string", "_M_")


def main(folder: Path) -> None:
    """Ends as `trial_limits` says."""
    from xllamacpp import CommonParams, Server  # noqa: PLC0415  # after the parent's checks, and only in this child

    trial = json.loads((folder / "trial.json").read_text("utf-8"))
    model = folder / "trial.gguf"
    model.write_bytes(tiny_gguf(trial["templates"]))
    limits = trial["limits"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (limits["memory_bytes"], limits["memory_bytes"]))
    params = CommonParams()
    params.model.path = str(model)
    params.hostnames = [str(folder / "s.sock")]
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 64, 1, 1
    params.warmup = params.ui = False
    params.cache_ram_mib = 0
    params.verbosity = 0
    if trial["instead"]:
        params.chat_template = trial["instead"]
    try:
        server = Server(params)
    except (RuntimeError, MemoryError) as error:
        _end(limits["unsafe"] if _ran_out(str(error)) else 0)  # what is merely wrong, the engine itself tells
    for body in trial["conversations"]:
        status, answer = _ask(folder / "s.sock", body)
        if len(answer) > limits["prompt_bytes"] or (status >= 500 and _ran_out(answer.decode("utf-8", "replace"))):
            _end(limits["unsafe"])
    del server
    _end(0)


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
