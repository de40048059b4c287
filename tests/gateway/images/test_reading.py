"""Images of strangers, honest and hostile, read by the real child."""

from __future__ import annotations

import asyncio
import base64
import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from gateway.images.bounds import LOW_SIDE, MAX_IMAGE_BYTES, MAX_SIDE
from gateway.images.child import format_of
from gateway.images.reading import ImageReader, bytes_of
from jan.errors import InvalidArgumentError
from tests.fixtures.eyes import BLUE, RED, data_url, png

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(colour: object = RED, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]  # any colour of any mode


def claiming(width: int, height: int) -> bytes:
    """A small PNG whose header claims other sides, with a true checksum."""
    data = bytearray(png())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def bomb() -> bytes:
    """36 million pixels of one colour in 40 KB."""
    return saved(Image.new("1", (6000, 6000)), "PNG")


async def read(image: bytes, detail: str = "auto") -> Image.Image:
    url = await ImageReader().data_url(image, detail)
    made = Image.open(io.BytesIO(bytes_of(url)))
    assert url.startswith(f"data:image/{str(made.format).lower()};base64,")
    made.load()
    return made


async def refused(image: bytes) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        await ImageReader().data_url(image, "auto")
    return caught.value.code


@pytest.mark.parametrize(("kind", "made"), [("PNG", "PNG"), ("JPEG", "JPEG"), ("WEBP", "PNG"), ("GIF", "PNG")])
async def test_the_four_formats_are_read_and_written_anew(kind: str, made: str) -> None:
    image = await read(saved(plain(), kind))
    assert (image.format, image.mode, image.size) == (made, "RGB", (40, 30))
    red, green, blue = image.getpixel((20, 15))  # type: ignore[misc]  # three numbers for RGB
    assert red > 250
    assert green + blue < 10


async def test_of_what_moves_the_first_frame_is_shown() -> None:
    for kind in ("GIF", "WEBP", "PNG"):
        moving = saved(plain(), kind, save_all=True, append_images=[plain(BLUE)], duration=10)
        assert (await read(moving)).getpixel((20, 15))[0] > 250  # type: ignore[index]  # three numbers for RGB


async def test_it_stands_upright_and_tells_nothing_of_its_maker() -> None:
    turned, secret = plain(size=(40, 20)), Image.Exif()
    secret[0x0112], secret[0x010E] = 6, "where I live"
    image = await read(saved(turned, "JPEG", exif=secret))
    assert image.size == (20, 40)
    assert not image.getexif()


@pytest.mark.parametrize(
    "image",
    [
        plain((255, 0, 0, 0), mode="RGBA"),
        plain((0, 0), mode="LA"),
        Image.new("P", (40, 30), 0),
    ],
)
async def test_what_is_transparent_is_white(image: Image.Image) -> None:
    options = {"transparency": 0} if image.mode == "P" else {}
    assert (await read(saved(image, "PNG", **options))).getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize(("detail", "side"), [("auto", MAX_SIDE), ("low", LOW_SIDE)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
async def test_a_large_one_is_made_smaller(kind: str, detail: str, side: int) -> None:
    assert (await read(saved(plain(size=(4000, 1000)), kind), detail)).size == (side, side // 4)


async def test_a_photograph_as_png_does_not_swell_the_job() -> None:
    noise = Image.merge("RGB", [Image.effect_noise((700, 700), 100) for _ in range(3)])
    assert (await read(saved(noise, "PNG"))).format == "JPEG"


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (b"", "empty_image_file"),
        (b"no image", "invalid_image_format"),
        (SVG, "invalid_image_format"),
        (png()[:60], "image_parse_error"),
        (png()[:33], "image_parse_error"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "image_parse_error"),
        (b"\xff\xd8\xff" + bytes(1000), "image_parse_error"),
        (b"GIF89a" + bytes(1000), "image_parse_error"),
        (b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(1000), "image_parse_error"),
        (claiming(65_535, 65_535), "image_too_large"),
        (claiming(2**31 - 1, 1), "image_too_large"),
        (claiming(0, 0), "image_parse_error"),
        (claiming(4000, 4000), "image_parse_error"),
        (saved(plain(), "GIF").replace(struct.pack("<HH", 40, 30), b"\xff" * 4), "image_too_large"),
    ],
)
async def test_what_is_no_image_is_refused_by_name(image: bytes, code: str) -> None:
    assert await refused(image) == code


def test_other_formats_are_none() -> None:
    for image in (b"%PDF-1.7", b"BM..", b"II*\0", b"\0\0\0\x20ftypmp42", b"RIFF\0\0\0\0WAVEfmt ", b"P6 1 1", SVG):
        assert format_of(image) == ""


async def test_a_bomb_is_read_within_its_bounds() -> None:
    small = bomb()
    assert len(small) < 50_000
    assert (await read(small)).size == (MAX_SIDE, MAX_SIDE)
    assert await refused(saved(Image.new("1", (8000, 8000)), "PNG")) == "image_too_large"


async def test_an_image_of_too_many_bytes_is_refused() -> None:
    assert await refused(png() + bytes(MAX_IMAGE_BYTES)) == "image_file_too_large"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:image/png,abc", "invalid_image_url"),
        ("data:image/png;base64", "invalid_image_url"),
        ("data:image/png;base64,a*b", "invalid_base64_image"),
        ("data:image/png;base64,abc", "invalid_base64_image"),
        ("data:image/png;base64,ä", "invalid_base64_image"),
        ("data:image/png;base64," + "A" * (MAX_IMAGE_BYTES * 4 // 3 + 8), "image_file_too_large"),
    ],
)
def test_a_data_url_without_an_image_is_refused_by_name(url: str, code: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        bytes_of(url)
    assert caught.value.code == code


def test_a_data_url_is_read_whatever_it_calls_itself() -> None:
    assert bytes_of(data_url(b"abc", "image/svg+xml")) == b"abc"
    assert bytes_of("DATA:image/png;charset=x;BASE64," + base64.b64encode(b"x").decode()) == b"x"


async def test_a_reader_that_leaves_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[asyncio.subprocess.Process] = []
    real: Callable[..., object] = asyncio.create_subprocess_exec

    async def noted(*args: object, **kwargs: object) -> asyncio.subprocess.Process:
        child = await real(*args, **kwargs)  # type: ignore[misc]  # what it is
        begun.append(child)
        reading_now.set()
        return child  # type: ignore[no-any-return]  # what it is

    reading_now = asyncio.Event()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    task = asyncio.create_task(ImageReader().data_url(bomb(), "auto"))
    await reading_now.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert begun[0].returncode is not None


async def test_sixteen_bits_of_grey_are_not_cut_to_white() -> None:
    grey = Image.new("I;16", (3, 1))
    for column, value in enumerate((0, 0x8000, 0xFFFF)):
        grey.putpixel((column, 0), value)
    made = await read(saved(grey, "PNG"))
    assert [made.getpixel((column, 0)) for column in range(3)] == [(0, 0, 0), (127, 127, 127), (255, 255, 255)]
