"""A thread and its messages as one JSON object, as the API shows them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence

import orjson

from gateway.convert.messages import message_from_proto
from gateway.convert.threads import thread_from_proto
from jan.storage.v1 import messages_pb2, threads_pb2


async def pieces(
    thread: threads_pb2.Thread, pages: AsyncIterable[Sequence[messages_pb2.Message]]
) -> AsyncGenerator[bytes, None]:
    """`{"thread": …, "messages": […]}`, oldest message first, a line each."""
    yield b'{"thread":' + orjson.dumps(thread_from_proto(thread)) + b',\n"messages":['
    separator = b"\n"
    async for page in pages:
        if page:
            yield separator + b",\n".join(orjson.dumps(message_from_proto(message)) for message in page)
            separator = b",\n"
    yield b"\n]}\n"
