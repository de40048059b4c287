"""`Idempotency-Key`: which requests bear one, and what tells a repetition from another request under the same key."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from aiohttp import web

from gateway.http.body import read_bytes
from gateway.http.retries import IDEMPOTENCY_KEY
from gateway.http.uploads import DIGEST, UploadDigest, hear_out
from gateway.idempotency.new_ids import NewIds
from gateway.queueing.tenant import holder_of
from jan.errors import InvalidArgumentError, TooLargeError

MAX_KEY_LENGTH = 255
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
# What is sent here goes to the disk as it comes, and may be larger than memory.
_UPLOADS = frozenset(
    {
        "/v1/files",
        "/v1/threads/import",
        "/v1/assistants/import",
        "/v1/storage/restore",
        "/v1/uploads/{upload_id}/parts",
        "/v1/messages/batches",
    }
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two requests the same.

    name: the record's, `<holder>.<digest>`, from the person and the key, so that nobody's key reaches another's answer.
    route: method and path with its query. body: the digest of a JSON body; None for an upload, whose digest is known
    once it was read.
    """

    name: str
    route: str
    body: str | None


IDENTITY = web.RequestKey("idempotency_identity", Identity)
"""Set for a request with an `Idempotency-Key`."""


def key_of(request: web.Request) -> str | None:
    """The request's key, None when it has none or needs none: only a POST to a route that exists is made repeatable.

    Raises InvalidArgumentError: several keys, or one that is empty, too long, or not printable ASCII.
    """
    keys = request.headers.getall(IDEMPOTENCY_KEY, [])
    if request.method != "POST" or not keys or request.match_info.http_exception is not None:
        return None
    if len(keys) > 1 or len(keys[0]) > MAX_KEY_LENGTH or not _KEY.fullmatch(keys[0]):
        raise InvalidArgumentError(
            f"Send one {IDEMPOTENCY_KEY} of at most {MAX_KEY_LENGTH} printable ASCII characters.",
            code="invalid_idempotency_key",
        )
    return keys[0]


async def identify(request: web.Request, key: str) -> Identity:
    """Read what is needed to know the request again; an upload is hashed while its handler reads it.

    Raises what `read_bytes` raises.
    """
    holder = holder_of(request)
    name = f"{_digest(holder)[:16]}.{_digest(holder + chr(0) + key)}"
    route = f"{request.method} {request.raw_path}"
    if not is_upload(request):
        return Identity(name, route, hashlib.sha256(await read_bytes(request)).hexdigest())
    request[DIGEST] = UploadDigest()
    return Identity(name, route, None)


def new_ids(request: web.Request) -> NewIds:
    """The ids of what a request makes; for an upload to be asked for when it was read, since its bytes count."""
    identity = request.get(IDENTITY)
    if identity is None:
        return NewIds()
    body = identity.body if identity.body is not None else request[DIGEST].hexdigest()
    return NewIds(f"{identity.name}\0{identity.route}\0{body}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def is_upload(request: web.Request) -> bool:
    """Whether the body is a file on its way to the disk. An assistant may be imported by a file or by a small JSON."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else ""
    return route in _UPLOADS and (route != "/v1/assistants/import" or request.content_type != "application/json")


async def is_same_upload(request: web.Request, body: str, most_bytes: int) -> bool:
    """Read an upload that was sent again, and tell whether it is the one with this digest and length."""
    try:
        await hear_out(request, most_bytes)
    except TooLargeError:
        return False
    return request[DIGEST].hexdigest() == body
