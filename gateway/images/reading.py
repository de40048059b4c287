"""An image as engines are told it, made by a child process with limits."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import sys

from gateway.images.bounds import BROKEN, LOW_SIDE, MAX_IMAGE_BYTES, MAX_SIDE, NO_BASE64, TOO_MANY_BYTES, WRONG_URL
from gateway.images.child import REFUSED, format_of
from jan.errors import InvalidArgumentError

_WALL_SECONDS = 60.0
_MOST_AT_ONCE = 2  # of a gateway, whatever is asked: they take a core and some hundred MB each
_CHILD = ("-I", "-m", "gateway.images.child")


class ImageReader:
    """Reads images, two at a time."""

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(_MOST_AT_ONCE)

    async def data_url(self, image: bytes, detail: str) -> str:
        """A PNG or JPEG of our making with what the image shows, in a data URL.

        `detail` `low` makes it small. Raises InvalidArgumentError: it is no image that can be shown; the code says why.
        """
        side = LOW_SIDE if detail == "low" else MAX_SIDE
        async with self._gate:
            made = await _made(image, side)
        return await asyncio.to_thread(_as_url, made)


def bytes_of(url: str) -> bytes:
    """The image that a data URL holds. Not for the event loop. Raises InvalidArgumentError: it holds none."""
    head, comma, text = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        message = "A data URL of an image must be 'data:image/<format>;base64,<data>'."
        raise InvalidArgumentError(message, code=WRONG_URL)
    if len(text) > MAX_IMAGE_BYTES * 4 // 3 + 4:
        raise too_many_bytes()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgumentError("The image is not in base64.", code=NO_BASE64) from None


def too_many_bytes() -> InvalidArgumentError:
    """The error of an image that is larger than may be."""
    return InvalidArgumentError(f"The image is larger than {MAX_IMAGE_BYTES // 1024 // 1024} MiB.", code=TOO_MANY_BYTES)


async def _made(image: bytes, side: int) -> bytes:
    """What the child writes; it is ended when nobody waits for it any longer."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, *_CHILD, str(side), stdin=pipe, stdout=pipe, stderr=pipe, env={}
    )
    try:
        async with asyncio.timeout(_WALL_SECONDS):
            made, said = await child.communicate(image)
    except TimeoutError:
        raise _broken() from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    code, _, message = said.decode("utf-8", "replace").partition(" ")
    if child.returncode == REFUSED:
        raise InvalidArgumentError(message, code=code)
    if child.returncode != 0 or not made:
        raise _broken()
    return made


def _broken() -> InvalidArgumentError:
    return InvalidArgumentError("The image cannot be read.", code=BROKEN)


def _as_url(image: bytes) -> str:
    return f"data:image/{format_of(image).lower()};base64,{base64.b64encode(image).decode()}"
