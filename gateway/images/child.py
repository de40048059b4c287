"""Reads one image and writes it anew: `python -m gateway.images.child <longest side>`, the image as stdin.

A process of its own, because decoders are written in C and read what strangers send: a crash, an endless loop or a
bomb ends here. Limits of time and memory are set before a byte is read, and it can write no file at all. What comes
out is a plain PNG or JPEG of our making, first frame, upright and without metadata, so that no engine ever reads a
stranger's file. Ends with 0, or with `REFUSED` after a code and a sentence.
"""

from __future__ import annotations

import io
import os
import resource
import sys
import warnings
from typing import Any, NoReturn

from gateway.images.bounds import BROKEN, EMPTY, MAX_IMAGE_BYTES, MAX_PIXELS, TOO_LARGE, TOO_MANY_BYTES, UNKNOWN_FORMAT

REFUSED = 3
_CPU_SECONDS = 20
_MEMORY_BYTES = 1024 * 1024 * 1024
_FORMATS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
}
_LARGE_PNG_BYTES = 1024 * 1024  # photographs; as JPEG they are a fifth of it
_QUALITY = 92


class _RefusedError(Exception):
    """A code, and a sentence."""


def main(side: int) -> None:
    """Write the image on stdin to stdout, no side longer than `side`."""
    _set_limits()
    warnings.simplefilter("ignore")
    try:
        sys.stdout.buffer.write(_anew(sys.stdin.buffer.read(MAX_IMAGE_BYTES + 1), side))
        sys.stdout.buffer.flush()
    except _RefusedError as refused:
        _refuse(*refused.args)
    except MemoryError:
        _refuse(TOO_LARGE, "The image takes more memory than is allowed.")
    except Exception:  # noqa: BLE001 - whatever a decoder makes of a hostile file, it is the file's fault
        _refuse(BROKEN, "The image is cut off or broken.")


def format_of(data: bytes) -> str:
    """The format that an image begins as, whatever it is called; "" for any other than the four that are read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _FORMATS.items() if data.startswith(magic)), "")


def _anew(data: bytes, side: int) -> bytes:
    from PIL import Image, ImageOps  # noqa: PLC0415 - not before the limits are set

    if not data:
        raise _RefusedError(EMPTY, "The image is empty.")
    if len(data) > MAX_IMAGE_BYTES:
        raise _RefusedError(TOO_MANY_BYTES, f"The image is larger than {MAX_IMAGE_BYTES // 1024 // 1024} MiB.")
    found = format_of(data)
    if not found:
        raise _RefusedError(UNKNOWN_FORMAT, "The image is no PNG, JPEG, WebP or GIF.")
    Image.MAX_IMAGE_PIXELS = None  # ours is asked below, before a pixel is decoded
    with Image.open(io.BytesIO(data), formats=(found,)) as opened:
        width, height = opened.size
        if width * height > MAX_PIXELS:
            most = f"{MAX_PIXELS // 1_000_000} million"
            raise _RefusedError(TOO_LARGE, f"The image has {width} x {height} pixels; {most} are the most.")
        opened.draft(None, (side, side))  # JPEG alone: decoded at a half, a quarter or an eighth
        upright = ImageOps.exif_transpose(opened)
        upright.thumbnail((side, side))
        return _written(_flat(upright), is_photograph=found == "JPEG")


def _flat(image: Any) -> Any:
    """As RGB, what is transparent on white: some engines would show it black, others white."""
    from PIL import Image  # noqa: PLC0415

    if image.mode.startswith("I"):  # 16 bits of grey; Pillow's own conversion cuts all above 255
        image = image.convert("I").point(lambda grey: grey / 257).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    white = Image.new("RGBA", seen.size, "white")
    white.alpha_composite(seen)
    return white.convert("RGB")


def _written(image: Any, *, is_photograph: bool) -> bytes:
    file = io.BytesIO()
    if not is_photograph:
        image.save(file, "PNG", compress_level=3)
    if is_photograph or file.tell() > _LARGE_PNG_BYTES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue()


def _set_limits() -> None:
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_AS, _MEMORY_BYTES),
    ):
        resource.setrlimit(limit, (most, most))


def _refuse(code: str, message: str) -> NoReturn:
    sys.stderr.write(f"{code} {message}")
    sys.stderr.flush()
    os._exit(REFUSED)  # at once: what lies half read may take long to be freed


if __name__ == "__main__":
    main(int(sys.argv[1]))
