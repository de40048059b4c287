"""Values that every resource converts alike: times, JSON texts, pages."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from jan.errors import InvalidArgumentError
from jan.storage.v1 import paging_pb2
from storage_service.store.paging import PageQuery
from storage_service.store.records import JsonObject
from storage_service.store.restoring.restores import Restores

DEFAULT_PAGE_SIZE = 20


def timestamp(milliseconds: int | None) -> Timestamp | None:
    """A time for the wire; None stays absent."""
    if milliseconds is None:
        return None
    stamp = Timestamp()
    stamp.FromMilliseconds(milliseconds)
    return stamp


def milliseconds(stamp: Timestamp) -> int | None:
    """A time from the wire; an absent one reads as the epoch and counts as None."""
    return stamp.ToMilliseconds() or None


def dump(value: Any) -> str:
    """A JSON text; None is the empty text, absent."""
    return "" if value is None else orjson.dumps(value).decode()


def load(text: str, param: str) -> Any:
    """A JSON value, None for the empty text. Raises InvalidArgumentError: not JSON."""
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidArgumentError(f"{param} is not JSON.", param=param) from None


def load_optional_object(text: str, param: str) -> JsonObject | None:
    """A JSON object, None for the empty text. Raises InvalidArgumentError: something else."""
    value = load(text, param)
    if value is not None and not isinstance(value, dict):
        raise InvalidArgumentError(f"{param} is not a JSON object.", param=param)
    return value


def load_object(text: str, param: str) -> JsonObject:
    """A JSON object, empty for the empty text. Raises InvalidArgumentError: something else."""
    return load_optional_object(text, param) or {}


def load_objects(text: str, param: str) -> list[JsonObject]:
    """A JSON array of objects, empty for the empty text. Raises InvalidArgumentError: something else."""
    value = load(text, param)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidArgumentError(f"{param} is not a JSON array of objects.", param=param)
    return value


def page_query(page: paging_pb2.PageRequest) -> PageQuery:
    """The page that is asked for, OpenAI's defaults filled in."""
    return PageQuery(
        limit=page.page_size or DEFAULT_PAGE_SIZE,
        descending=page.order != paging_pb2.ORDER_ASC,
        after=page.after or None,
        before=page.before or None,
    )


def masked_paths(paths: list[str], allowed: frozenset[str]) -> set[str]:
    """The fields an update names. Raises InvalidArgumentError: one that cannot be changed."""
    unknown = sorted(set(paths) - allowed)
    if unknown:
        raise InvalidArgumentError(f"{unknown[0]} cannot be changed.", param="update_mask")
    return set(paths)


@contextmanager
def leaving_if_promised(
    context: aio.ServicerContext[Any, Any], restores: Restores, leave: Callable[[], None]
) -> Iterator[None]:
    """Around what may promise another janroot: once it is promised, leave as soon as the caller has its answer.

    Also when the caller left meanwhile, for what is written until the next start goes to the trash then.
    """
    try:
        yield
    finally:
        if restores.is_promised:
            cast(Any, context).add_done_callback(lambda _: leave())  # its types know no function
