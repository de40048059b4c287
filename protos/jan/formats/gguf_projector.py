"""A projector: the GGUF file beside a model's weights that makes tokens of images for it (`mmproj`)."""

from __future__ import annotations

from typing import Final

from jan.formats.description import LyingHeaderError
from jan.formats.gguf import GgufHeader

_ARCHITECTURE: Final = "clip"
_MOST_LENGTH: Final = 8192  # of an image's side, in llama.cpp
_NUMBER_BYTES: Final = 4


def vision_bytes_of(header: GgufHeader) -> int:
    """What llama.cpp needs about to look at one image, beside the weights: pixels, and the rows of a layer.

    Raises LyingHeaderError: it is no projector, or one that only hears, or has a number that none has.
    """
    values = header.values
    if values.get("general.architecture") != _ARCHITECTURE:
        raise LyingHeaderError("it is a whole model and no projector for images")
    if not values.get("clip.has_vision_encoder"):
        raise LyingHeaderError("it is a projector that sees no images")
    side, patch = _number(header, "image_size"), _number(header, "patch_size")
    width, inner = _number(header, "embedding_length"), _number(header, "feed_forward_length")
    if side > _MOST_LENGTH or patch > _MOST_LENGTH or max(width, inner) > 2**20:
        raise LyingHeaderError("it claims images or dimensions that no projector has")
    patches = (side // max(1, patch)) ** 2
    return _NUMBER_BYTES * (patches * (16 * width + 4 * inner) + 3 * side * side)


def _number(header: GgufHeader, name: str) -> int:
    value = header.values.get(f"clip.vision.{name}", 0)
    if not isinstance(value, int) or value < 0:
        raise LyingHeaderError(f"its {name} is no length")
    return value
