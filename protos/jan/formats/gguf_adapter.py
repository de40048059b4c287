"""LoRA adapters in GGUF: which file is one, and whether it fits the model that it is to change.

llama.cpp does not say what is wrong with an adapter, passes over what it does not know, and aborts on matrices that do
not fit each other; so all of it is looked at here (llama-adapter.cpp).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from jan.formats.description import LyingHeaderError
from jan.formats.gguf import GgufHeader, Tensor

_A, _B = ".lora_a", ".lora_b"
_TYPES: Final = (0, 1, 8, 30)  # F32, F16, Q8_0, BF16: what converters write
_EMBEDDING: Final = "token_embd"  # looked up, not multiplied with, so its first matrix lies the other way


def is_adapter(header: GgufHeader) -> bool:
    """Whether a file changes a model and is none itself."""
    return header.values.get("general.type") == "adapter"


def check_adapter(adapter: GgufHeader, base: Sequence[GgufHeader]) -> None:
    """See that an adapter fits a model, of which these are all parts.

    Raises LyingHeaderError: why it does not.
    """
    kind = adapter.values.get("adapter.type")
    if kind != "lora":
        raise LyingHeaderError(f"its adapter.type is {_told(kind)}, and only 'lora' is loaded")
    if any(key.startswith("adapter.alora.") for key in adapter.places):
        raise LyingHeaderError("it is an activated LoRA (aLoRA), which is not loaded")
    if adapter.values.get("split.count", 1) not in (0, 1):
        raise LyingHeaderError("it is cut into parts, which adapters are not")
    made_for, given = (header.values.get("general.architecture") for header in (adapter, base[0]))
    if made_for != given:
        raise LyingHeaderError(f"it was made for the architecture {_told(made_for)}, and this one is {_told(given)}")
    if not adapter.tensors:
        raise LyingHeaderError("it has no matrices, so it would change nothing")
    known = {name: tensor for header in base for name, tensor in header.tensors.items()}
    for name in adapter.tensors:
        _check_pair(name, adapter.tensors, known)


def _check_pair(name: str, tensors: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> None:
    """See that a matrix has its other one, and that both make a change of the model's own."""
    changed = name.removesuffix(_A).removesuffix(_B)
    first, second, whole = tensors.get(changed + _A), tensors.get(changed + _B), known.get(changed)
    if changed == name:
        raise LyingHeaderError(f"its {_told(name)} is no matrix of a LoRA")
    if first is None or second is None:
        raise LyingHeaderError(f"of its two matrices for {_told(changed)} one is missing")
    if whole is None:
        raise LyingHeaderError(f"it changes {_told(changed)}, which this model does not have")
    if not {first.element_type, second.element_type} <= set(_TYPES):
        raise LyingHeaderError(f"its matrices for {_told(changed)} are not F32, F16, BF16 or Q8_0")
    if not _fit(first, second, whole, is_embedding=changed.startswith(_EMBEDDING)):
        shapes = " and ".join("x".join(map(str, tensor.lengths)) for tensor in (first, second))
        wanted = "x".join(map(str, whole.lengths))
        raise LyingHeaderError(f"its matrices for {_told(changed)} are {shapes}, and the model's is {wanted}")


def _fit(first: Tensor, second: Tensor, whole: Tensor, *, is_embedding: bool) -> bool:
    """Lengths are the fastest first: a model's matrix has its columns, then its rows, then its experts."""
    columns, rows, *experts = whole.padded
    a0, a1, *a_experts = first.padded
    b0, b1, *b_experts = second.padded
    if not a_experts == b_experts == experts:
        return False
    if is_embedding:
        return (a1, b1) == (rows, columns) and a0 == b0
    return (a0, b1) == (columns, rows) and a1 == b0


def _told(value: object) -> str:
    return ascii(value)[:100]
