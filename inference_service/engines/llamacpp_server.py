"""The llama.cpp engine process: `python -m inference_service.engines.llamacpp_server --socket ... --model ...`.

Hosts llama.cpp's own HTTP server out of the `xllamacpp` wheel on a unix socket. Nothing here answers a request.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_service.engines.cpu import default_threads
from jan.formats.gguf import read_gguf

KEY_VARIABLE = "JANROOT_ENGINE_KEY"
"""The environment variable with the key that requests must carry: unlike argv, not readable by every user."""

POOLINGS = {"mean": 1, "cls": 2, "last": 3}
"""How the vectors of all tokens become one: llama.cpp's `llama_pooling_type`."""

_QUIET = 2  # llama.cpp's level of warnings and errors: at 3 it writes eight lines per request
_LOADING_BYTES = 4 * 2**30  # what loading may need beside twice what is expected
_REQUESTS_BYTES = 2 * 2**30  # what all requests together may need: prompts, grammars, the prompt cache
_PROMPT_CACHE_MIB = 512  # llama.cpp's own default is 8192, more than a small machine has


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line that `llamacpp.py` writes."""
    parser = argparse.ArgumentParser(prog="llamacpp_server", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="where to listen; replaced if it exists")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file (the first of its parts)")
    parser.add_argument("--adapter", type=Path, help="a LoRA adapter that goes on top of it")
    parser.add_argument("--mmproj", type=Path, help="what makes tokens of images")
    parser.add_argument("--ctx-len", type=int, required=True, help="tokens of context for each request")
    parser.add_argument("--n-parallel", type=int, required=True, help="requests answered side by side")
    parser.add_argument("--ngl", type=int, help="layers on the GPU; llama.cpp decides when absent")
    parser.add_argument("--cpu-threads", type=int, help="all cores but one when absent")
    parser.add_argument("--chat-template", help="Jinja text instead of the model's own")
    parser.add_argument("--memory-bytes", type=int, help="what the model is expected to take; bounds what it may")
    parser.add_argument("--cache-type", help="how the KV cache is stored; f16 when absent")
    parser.add_argument("--embedding", action="store_true", help="compute embeddings, not only text")
    parser.add_argument("--pooling", choices=POOLINGS, help="how; as the model was made for, or last, when absent")
    parser.add_argument("--no-cont-batching", action="store_true", help="finish a batch before taking the next")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Load the model, serve until a signal ends the process; exits with 1 when the model cannot be loaded."""
    args = parse(argv)
    args.socket.unlink(missing_ok=True)
    os.umask(0o177)
    server = _serve(args)
    while server is not None:
        signal.pause()


def _serve(args: argparse.Namespace) -> object:
    # Imported late: the parent imports this module for KEY_VARIABLE and must not load 140 MB of libraries for it.
    from xllamacpp import (  # noqa: PLC0415
        CommonAdapterLoraInfo,
        CommonParams,
        Server,
        ggml_type,
        json_schema_to_grammar,
    )

    if not json_schema_to_grammar({}).startswith("%llguidance"):
        sys.exit("llama.cpp was built without llguidance")  # its server would end at the first bound answer

    params = CommonParams()
    params.model.path = str(args.model)
    if args.adapter is not None:
        adapter = CommonAdapterLoraInfo()
        adapter.path, adapter.scale = str(args.adapter), 1.0
        params.lora_adapters = [adapter]
    if args.mmproj is not None:
        params.mmproj.path = str(args.mmproj)
    params.hostnames = [str(args.socket)]
    params.api_keys = [os.environ[KEY_VARIABLE]]
    params.n_ctx = args.ctx_len * args.n_parallel  # llama.cpp divides it among the slots
    params.n_parallel = args.n_parallel
    if args.embedding:
        _embed(params, args)
    params.cont_batching = not args.no_cont_batching
    params.ctx_shift = False  # a full context ends the answer; nothing of the prompt is cut away in silence
    params.endpoint_slots = True
    params.ui = False
    params.verbosity = _QUIET
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    params.sse_ping_interval = -1  # keep-alives are the gateway's business
    params.prefill_assistant = False  # an assistant message at the end is history, as OpenAI has it
    if args.cache_type is not None:
        params.cache_type_k = params.cache_type_v = ggml_type[f"GGML_TYPE_{args.cache_type.upper()}"]
    if args.ngl is not None:
        params.n_gpu_layers = args.ngl
    params.cpuparams.n_threads = args.cpu_threads or default_threads()
    if args.chat_template is not None:
        params.chat_template = args.chat_template
    if args.memory_bytes is not None:
        _limit_memory(2 * args.memory_bytes + _LOADING_BYTES)
    try:
        server = Server(params)
    except RuntimeError as error:
        sys.exit(f"llama.cpp could not start: {error}")
    if args.memory_bytes is not None:
        _limit_memory(_data_bytes() + _REQUESTS_BYTES)
    return server


def _limit_memory(size_bytes: int) -> None:
    """No chat template or request takes the machine's memory: allocations beyond fail (docs/security.md S21).

    Counts what is written to, not the weights that are mapped from their file (RLIMIT_DATA, getrlimit(2)).
    """
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes if most < 0 else min(size_bytes, most), most))


def _data_bytes() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


def _embed(params: Any, args: argparse.Namespace) -> None:
    params.embedding = True
    pooling = POOLINGS[args.pooling] if args.pooling else _own_pooling(args.model)
    params.pooling_type = pooling
    if pooling != POOLINGS["last"]:
        # All tokens of an input are computed in one go then, or it is refused.
        params.n_batch = params.n_ubatch = max(params.n_ubatch, args.ctx_len)


def _own_pooling(model: Path) -> int:
    """What the file says, else the last token's vector, as vLLM takes it from models that write text."""
    with model.open("rb") as file:
        values = read_gguf(file, model.stat().st_size).values
    own = values.get(f"{values.get('general.architecture')}.pooling_type")
    return own if isinstance(own, int) and own > 0 else POOLINGS["last"]


if __name__ == "__main__":
    main(sys.argv[1:])
