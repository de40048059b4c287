"""What vLLM writes while it starts: how far it has come, and in the users' words why it does not. Pure."""

from __future__ import annotations

import re
from typing import Final

_STAGES: Final = (
    (re.compile(r"Initializing a V\d LLM engine"), "starting its core", 0.05, 0.05),
    (re.compile(r"Loading safetensors checkpoint shards: +(\d+)%"), "loading weights", 0.1, 0.7),
    (re.compile(r"Starting to load model"), "loading weights", 0.1, 0.1),
    (re.compile(r"Loading weights took|Model loading took"), "preparing", 0.7, 0.7),
    (re.compile(r"Dynamo bytecode transform|Compiling a graph|torch\.compile took"), "compiling", 0.75, 0.75),
    (re.compile(r"Capturing CUDA graphs[^:]*: +(\d+)%"), "capturing graphs", 0.8, 0.95),
    (re.compile(r"init engine \("), "starting to serve", 0.97, 0.97),
)
"""Sign in the log, what goes on then, and which part of the whole it begins and ends at."""

_SMALLER: Final = "A smaller ctx_len or n_parallel needs less."

_CAUSES: Final = (
    (
        re.compile(r"model's max seq len \((\d+)\).*?([\d.]+) GiB.*?KV cache.*?\(([\d.]+) GiB"),
        "A request of ctx_len {0} needs {1} GiB of KV cache, and {2} GiB are free for it. A smaller one needs less.",
    ),
    (
        re.compile(r"max_model_len \((\d+)\) is greater than the derived max_model_len \(\w+=(\d+)"),
        "ctx_len is {0}, but the model was made for at most {1} tokens.",
    ),
    (
        re.compile(r"[Ff]ree memory on device.*?\(([\d.]+)/([\d.]+) GiB\).*?\(([\d.]+), ([\d.]+) GiB\)"),
        "The GPU has {0} of its {1} GiB free, and {3} GiB are asked for (gpu_memory_utilization {2}).",
    ),
    (
        re.compile(r"Available memory on node \S+ \(([\d.]+)/([\d.]+) GiB\).*?\(([\d.]+)(?:/[\d.]+)? GiB\)"),
        "There are {0} of {1} GiB of memory free, and {2} GiB are needed. " + _SMALLER,
    ),
    (
        re.compile(r"Tried to allocate ([\d.]+ \w+)\..*?total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free"),
        "The GPU is out of memory: {0} more are needed, and {2} of its {1} are free. " + _SMALLER,
    ),
    (
        re.compile(r"CUDA out of memory|OutOfMemoryError|No available memory for the cache blocks|MemoryError"),
        "There is not enough memory for this model. " + _SMALLER,
    ),
    (
        re.compile(r"Model architectures \[(.*?)\] (?:are not supported|failed to be inspected)"),
        "This vLLM does not know the model's architecture ({0}).",
    ),
    (
        re.compile(r"The checkpoint you are trying to load has model type `([\w.-]+)`"),
        "This vLLM does not know the model's architecture ({0}).",
    ),
    (
        re.compile(r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)"),
        "The model's {0} attention heads cannot be divided among {1} GPUs (tensor_parallel_size).",
    ),
    (
        re.compile(r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)"),
        "The settings ask for {0} GPUs, and this host has {1}.",
    ),
    (re.compile(r"invalid tool call parser: (\S+)"), "This vLLM has no tool_call_parser named {0}."),
    (re.compile(r"invalid reasoning parser: (\S+)"), "This vLLM has no reasoning_parser named {0}."),
    (re.compile(r"Unknown quantization method: ['\"]?([\w-]+)"), "This vLLM does not know the quantization {0}."),
    (
        re.compile(r"Quantization method specified in the model config \((\S+?)\) does not match"),
        "The setting quantization is not what the model's files are quantized with ({0}).",
    ),
    (
        re.compile(r"Bfloat16 is only supported on GPUs"),
        "The GPU is too old for bfloat16: set dtype to float16.",
    ),
    (
        re.compile(r"dtype .*? is not supported"),
        "The model's dtype does not work here: set dtype to float16 or float32.",
    ),
    (re.compile(r"Cannot find any model weights|SafetensorError"), "The model's safetensors files cannot be used."),
    (
        re.compile(r"LoRA rank (\d+) is greater than max_lora_rank"),
        "The adapter's rank {0} is more than max_lora_rank.",
    ),
    (re.compile(r"No module named '?vllm\b"), "vLLM is not installed in JANROOT_VLLM_PYTHON."),
    (re.compile(r"unrecognized arguments: (.*)"), "This vLLM is of another version: it does not know {0}."),
    (re.compile(r"jinja2\.exceptions|chat template .* not (?:look|valid)"), "vLLM cannot use the prompt_template."),
    (
        re.compile(r"ImportError\(['\"](lib[\w.+-]+): cannot open shared object file"),
        "vLLM needs the system's library {0}, which is not installed (libnuma.so.1 is Debian's package libnuma1).",
    ),
    (
        re.compile(r"Insufficient space in /dev/shm[^:]*: (\d+ \w+) required, (\d+ \w+) free"),
        "vLLM needs {0} of /dev/shm, which has room for {1}: enlarge it (in a container: --shm-size 1g, or shm_size).",
    ),
    (re.compile(r"No space left on device"), "The disk is full."),
)
"""Sign in the log, and what it means to the person who chose model and settings."""


_PASSING: Final = re.compile(r"\bfree\b|not enough memory|disk is full")
"""Causes that may pass by themselves, when others give back memory; the rest lasts until settings or files change."""


class VllmLog:
    """Reads vLLM's lines as they come; called by the thread that copies them."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self.begin()

    def begin(self) -> None:
        """Forget what an earlier process has said."""
        self.activity = "starting vLLM"
        """What it does now."""
        self.progress = 0.0
        """How much of the start is done, 0 to 1; never goes back."""
        self.cause = ""
        """The first sentence that explains a failure."""

    @property
    def lasts(self) -> bool:
        """Whether trying again as it is would fail again."""
        return bool(self.cause) and _PASSING.search(self.cause) is None

    def hear(self, line: str) -> None:
        """Take in one line."""
        if not self.cause:
            self.cause = explain(line)
        for sign, activity, begin, end in _STAGES:
            found = sign.search(line)
            if found is not None:
                part = int(found[1]) / 100 if found.groups() else 0.0
                self._come_to(begin + (end - begin) * part, f"{activity} {found[1]} %" if found.groups() else activity)

    def _come_to(self, progress: float, activity: str) -> None:
        if progress >= self.progress:
            self.progress, self.activity = progress, activity


def explain(line: str) -> str:
    """What a line says about a failed start, in a sentence for users; "" when it says nothing."""
    for sign, sentence in _CAUSES:
        found = sign.search(line)
        if found is not None:
            return sentence.format(*found.groups())
    return ""
