"""Where images stand in the messages of a chat, and what they count. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.images.bounds import IMAGE_TOKENS

JsonObject = dict[str, Any]

IMAGE_URL: Final = "image_url"
IMAGE_FILE: Final = "image_file"
OF_MESSAGE: Final = "message"
"""Ours, in an `image_file`: the ids of the thread and the message that it belongs to."""


def places_of(messages: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Where images stand: the message, and the part of its content."""
    return [
        (place, number)
        for place, message in enumerate(messages)
        if isinstance(message.get("content"), list)
        for number, part in enumerate(message["content"])
        if part.get("type") in (IMAGE_URL, IMAGE_FILE)
    ]


def without_images(messages: Sequence[JsonObject], instead: str) -> list[JsonObject]:
    """The messages with a text in the place of each image."""
    told = [{**message} for message in messages]
    for place, number in places_of(messages):
        if told[place]["content"] is messages[place]["content"]:
            told[place]["content"] = [*messages[place]["content"]]
        told[place]["content"][number] = {"type": "text", "text": instead}
    return told


def most_image_tokens(messages: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """What the images of a chat count in tokens, and the bytes of their URLs, which are none."""
    urls = [
        str((messages[place]["content"][number].get(IMAGE_URL) or {}).get("url", ""))
        for place, number in places_of(messages)
    ]
    return IMAGE_TOKENS * len(urls), sum(map(len, urls))
