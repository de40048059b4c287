"""The images of a thread: what its addresses lead to may be gone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.images.shown import Images
from jan.errors import InvalidArgumentError

DEAD = {"type": "image_url", "image_url": {"url": "https://gone.example/x.png"}}


class NothingThere:
    """A fetcher that finds nothing."""

    async def whole(self, url: str, limits: object) -> bytes:
        raise InvalidArgumentError("It is not there.")


def images() -> Images:
    return Images(cast(Any, NothingThere()), cast(Any, None))


def said(role: str, *content: object) -> dict[str, Any]:
    return {"role": role, "content": [*content]}


async def test_an_image_that_was_answered_and_is_gone_ends_no_run() -> None:
    thread = [said("user", DEAD), said("assistant"), said("user", {"type": "text", "text": "And now?"})]
    shown = await images().shown_of_thread(thread, "(an image)")
    assert [part["text"] for message in shown for part in message["content"]] == ["(an image)", "And now?"]
    assert thread[0]["content"] == [DEAD]


async def test_an_image_that_nobody_answered_yet_must_be_there() -> None:
    thread = [said("user", DEAD), said("user", {"type": "text", "text": "What is it?"})]
    with pytest.raises(InvalidArgumentError, match="cannot be fetched"):
        await images().shown_of_thread(thread, "(an image)")
