"""ChatGPT's and Claude's exports: one conversation after the other, however long the file is."""

from collections.abc import Iterable, Iterator

import orjson

from storage_service.store.imports import chatgpt, claude
from storage_service.store.imports.conversations import Conversation, Product, Unreadable
from storage_service.store.imports.draft import Original, Source
from storage_service.store.imports.elements import Element, parse, split
from storage_service.store.imports.recognise import product_of

_CONVERT = {Product.CHATGPT: chatgpt.convert, Product.CLAUDE: claude.convert}


def read(pieces: Iterable[bytes], source: Source) -> Iterator[Conversation | Unreadable]:
    """The conversations of one file that arrives in pieces, each at once; memory is needed for one of them.

    Raises nothing but what `pieces` raises: what is no conversation is told as `Unreadable`, and the next one is read.
    """
    for element in split(pieces):
        yield from _read(element, source)


def _read(element: Element, source: Source) -> Iterator[Conversation | Unreadable]:
    if element.data is None:
        yield Unreadable("It is larger than what is read of one conversation.", None)
        return
    if not element.is_whole:
        yield Unreadable("The file ends in the middle of it.", element.data)
        return
    parsed = parse(element.data)
    if parsed is None:
        yield Unreadable("It is not JSON, or nested too deep.", element.data)
        return
    wrapped = parsed.value.get("conversations") if isinstance(parsed.value, dict) else None
    if isinstance(wrapped, list):
        for value in wrapped:
            yield _convert(value, Original(orjson.dumps(value), parsed.is_mended), source)
    else:
        yield _convert(parsed.value, Original(element.data, parsed.is_mended), source)


def _convert(value: object, original: Original, source: Source) -> Conversation | Unreadable:
    if not isinstance(value, dict) or (product := product_of(value)) is None:
        return Unreadable("It is no conversation of a known product.", original.data)
    return _CONVERT[product](value, original, source)
