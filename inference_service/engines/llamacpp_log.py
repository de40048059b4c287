"""What llama.cpp's last words mean, in the users' words. Pure."""

from __future__ import annotations

import re
from typing import Final

from inference_service.memory.fit import in_words
from inference_service.memory.placement import Placement

_CAUSES: Final = (
    ("invalid magic", "The file is not a GGUF model."),
    ("is not within the file bounds", "The model file is cut off."),
    (
        "failed to load multimodal model",
        (
            "The model's projector for images (mmproj) is for a model of another width, or of a kind that this build "
            "of llama.cpp does not know. With the setting vision_model false the model is loaded without it."
        ),
    ),
    ("chat template", "llama.cpp cannot use the model's prompt_template."),
    (
        "built without llguidance",
        "This build of llama.cpp (the wheel xllamacpp) has no llguidance, which binds answers to schemas.",
    ),
    ("No module named 'xllamacpp'", "The llama.cpp engine is not installed here (the wheel xllamacpp)."),
)
_UNKNOWN_ARCHITECTURE: Final = re.compile(r"unknown model architecture: '([\w.-]{1,64})'")
_OUT_OF_MEMORY: Final = re.compile(r"failed to allocate|out of memory|bad_alloc")
_WANTED_BYTES: Final = re.compile(r"failed to allocate buffer of size (\d+)")
_WANTED_MIB: Final = re.compile(r"allocating (\d+(?:\.\d+)?) MiB on device")


def unknown_architecture(text: str) -> str:
    """That this engine can never run the model, with its architecture, as a sentence; "" when it is not that."""
    found = _UNKNOWN_ARCHITECTURE.search(text)
    return f"This build of llama.cpp does not know the model's architecture ({found[1]})." if found else ""


def cause_of(text: str, placement: Placement) -> str:
    """Why it did not start, as a sentence; "" when its words are not known."""
    sentence = next((sentence for needle, sentence in _CAUSES if needle in text), "")
    if sentence or not _OUT_OF_MEMORY.search(text):
        return sentence
    return f"There is not enough memory for this model with this ctx_len and n_parallel{_numbers(text, placement)}."


def _numbers(text: str, placement: Placement) -> str:
    """How much it asked for at last, where it says so, and what the placement had counted with."""
    wanted = [int(size) for size in _WANTED_BYTES.findall(text)]
    wanted += [int(float(size) * 2**20) for size in _WANTED_MIB.findall(text)]
    asked = [f"it asked for {in_words(max(wanted))} in one piece"] if wanted else []
    for share in placement.shares:
        size, free = in_words(share.size_bytes), in_words(share.device.free_bytes)
        asked.append(f"{size} were counted for it of {free} free on {share.device.id}")
    return ": " + ", ".join(asked) if asked else ""
