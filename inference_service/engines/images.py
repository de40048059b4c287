"""Images in a chat, in the last place before an engine: only such as lie in the request itself, for a model that sees.

The gateway has fetched and looked at them (`gateway/images/`). Engines would fetch addresses by themselves, from
anywhere (vLLM CVE-2025-6242; docs/security.md S18), so none ever reaches them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from jan.errors import InvalidArgumentError

MOST_IMAGES: Final = 16
"""In one request: what vLLM is told to allow, and the most that the gateway lets pass."""

_HERE: Final = ("data:image/png;base64,", "data:image/jpeg;base64,")


def check_images(messages: Sequence[Mapping[str, Any]], model_id: str, *, sees: bool) -> None:
    """Raises InvalidArgumentError: there is an image, and the model sees none; or one that does not lie here."""
    for place, part, url in _images(messages):
        param = f"messages[{place}].content[{part}]"
        if not sees:
            raise InvalidArgumentError(
                f"Model '{model_id}' cannot see images; send text only.", param=param, code="unsupported_content"
            )
        if not url.startswith(_HERE):
            message = "An image must reach the engine as PNG or JPEG in a data URL."
            raise InvalidArgumentError(message, param=f"{param}.image_url.url", code="invalid_image_url")


def has_images(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a conversation shows any."""
    return next(_images(messages), None) is not None


def is_image(part: Any) -> bool:
    """Whether a part of a message's content is one."""
    return isinstance(part, Mapping) and part.get("type") == "image_url"


def _images(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int, str]]:
    """The places of images, and their URLs."""
    for place, message in enumerate(messages):
        content = message.get("content")
        for number, part in enumerate(content if isinstance(content, list) else ()):
            if is_image(part):
                image = part.get("image_url")
                yield place, number, str(image.get("url") if isinstance(image, Mapping) else image)
