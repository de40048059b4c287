"""`ETag` and `If-Match`: one state of an object by name, and changes that happen to no other state (RFC 9110)."""

from __future__ import annotations

import re

from aiohttp import web

from jan.errors import InvalidArgumentError

# An entity tag, as a client may send it; ours are hexadecimal.
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"', re.ASCII)
_MAX_TAGS = 32


def etag(revision: str) -> dict[str, str]:
    """The header that names an object's state: of its own file or line, whatever else its JSON is made from."""
    return {"ETag": f'"{revision}"'}


def read_if_match(request: web.Request) -> list[str]:
    """The revisions that a request may act on; none means any. Raises InvalidArgumentError: not a list of tags."""
    text = ",".join(request.headers.getall("If-Match", ["*"]))
    if text.strip() == "*":
        return []
    matches = [_TAG.fullmatch(item.strip()) for item in text.split(",")]
    if len(matches) > _MAX_TAGS or None in matches:
        raise InvalidArgumentError("'If-Match' must be '*' or a list of entity tags.", param="If-Match")
    # A weak tag equals nothing where a change depends on it, so it is passed on as one that no object has.
    return [(match[1] or "") + match[2] for match in matches if match is not None]
