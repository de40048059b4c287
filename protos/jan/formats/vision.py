"""Which models see images: what lies beside GGUF weights, and what config.json of a safetensors model says. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

_PARTS: Final = re.compile(r".+-(?P<number>[0-9]{5})-of-[0-9]{5}\.gguf", re.ASCII | re.IGNORECASE)
_PREFERRED: Final = ("f16", "bf16", "q8_0", "f32")
"""How a projector may be stored, the best first: smaller ones see worse, larger ones no better."""

_TURNED_OFF: Final = (False, "false", "False")


def is_projector(name: str) -> bool:
    """Whether a file is called as llama.cpp calls what turns images into tokens: `mmproj-<model>-f16.gguf`."""
    lower = name.lower()
    return lower.endswith(".gguf") and "mmproj" in lower


def best_projector(names: Collection[str]) -> str:
    """The projector to take among files of one place; "" when there is none."""
    found = sorted(filter(is_projector, names))
    for kind in _PREFERRED:
        for name in found:
            if kind in re.split(r"[-.]", name.lower()):
                return name
    return next(iter(found), "")


def lone_projector(names: Collection[str]) -> str:
    """The projector of a folder's only GGUF model; "" when there is none, or several models that it may belong to."""
    models = [name for name in names if name.lower().endswith(".gguf") and not is_projector(name)]
    firsts = [name for name in models if (part := _PARTS.fullmatch(name)) is None or int(part["number"]) == 1]
    return best_projector(names) if len(firsts) == 1 else ""


def projector_among(files: Collection[str], settings: Mapping[str, Any]) -> str:
    """The projector among a GGUF model's files; "" when there is none, or the setting `vision_model` is false."""
    if blinded(settings):
        return ""
    named = str(settings.get("mmproj") or "").replace("\\", "/").rpartition("/")[2]
    by_name = [name for name in files if named and name.rpartition("/")[2] == named]
    return next(iter(by_name), "") or best_projector(files)


def blinded(settings: Mapping[str, Any]) -> bool:
    """Whether the settings say that a model is to see nothing: Jan's `vision_model`, false."""
    return settings.get("vision_model") in _TURNED_OFF and settings.get("vision_model") is not None


def has_eyes(config: Mapping[str, Any]) -> bool:
    """Whether a model of this config.json takes images into a chat, as far as that tells: it describes an eye.

    What turns texts and images into vectors (CLIP, SigLIP) chats with nobody.
    """
    architectures = config.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    if any(re.match(r"\w*(CLIP|Siglip\d*)(Model|VisionModel|TextModel)", name) for name in names):
        return False
    inner = config.get("thinker_config")
    parts = [config, inner] if isinstance(inner, dict) else [config]
    return any(isinstance(part.get(key), dict) and bool(part[key]) for part in parts for key in _EYES)


_EYES: Final = ("vision_config", "vision_encoder", "visual", "img_processor", "vit_config")
"""What architectures call the part that sees: nearly all `vision_config`; Qwen-VL `visual`, Phi-3 `img_processor`."""
