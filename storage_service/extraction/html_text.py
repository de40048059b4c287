"""The text of an HTML page, a line for each block. Streamed, so that no nesting is too deep."""

import re
from html.parser import HTMLParser

_HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "head"})
# Shown, although it stands in the head.
_TITLE = "title"
_INLINE = frozenset(
    {"a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img"}
    | {"ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt"}
    | {"u", "var", "wbr"}
)
_CELLS = frozenset({"td", "th"})
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
_BLANKS = re.compile(r"[ \t\r\f\v\xa0]+")
_LINES = re.compile(r" ?\n[ \n]*")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden_in = ""
        self._hidden_depth = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._in_title = tag == _TITLE
        if self._hidden_depth:
            self._hidden_depth += tag == self._hidden_in
        elif tag in _HIDDEN:
            self._hidden_in, self._hidden_depth = tag, 1
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden_depth and tag == self._hidden_in:
            self._hidden_depth -= 1
        if tag == "body":  # of a head that was never closed
            self._hidden_depth = 0
        self._separate(tag)
        self._in_title = False

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            self._separate(tag)
        else:  # to a browser `<div/>` only opens
            self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if self._in_title or not self._hidden_depth:
            self.parts.append(data.replace("\n", " "))

    def _separate(self, tag: str) -> None:
        if tag == "body":
            self._hidden_depth = 0
        if not self._hidden_depth or tag == _TITLE:
            self.parts.append("" if tag in _INLINE else "\t" if tag in _CELLS else "\n")


def html_to_text(page: str) -> str:
    """The text that a reader sees: without scripts, styles and marks, blocks and rows on lines of their own."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return _LINES.sub("\n", _BLANKS.sub(" ", "".join(reader.parts))).strip()
