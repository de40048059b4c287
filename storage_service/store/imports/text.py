"""Texts of strangers as they may stand in a message: whole, cut, fenced as code, or on one line."""

import re

_FENCE = re.compile(r"`{3,}")
_CUT = " […]"


def fenced(text: str, language: str = "") -> str:
    """Code in Markdown, in a fence that the code does not close."""
    longest = max(map(len, _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    word = language if language.isascii() and language.replace("-", "").isalnum() and len(language) <= 32 else ""
    return f"{fence}{word}\n{text.rstrip()}\n{fence}"


def quoted(text: str) -> str:
    """A quotation in Markdown."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def one_line(text: str, most: int) -> str:
    """A text as a title: its words on one line, cut at a length."""
    return cut(" ".join(text[: most * 8].replace("\0", " ").split()), most)


def cut(text: str, most: int) -> str:
    """A text that is no longer than it may be; its end says that something was cut off."""
    return text if len(text) <= most else text[: max(0, most - len(_CUT))] + _CUT
