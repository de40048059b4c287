"""What a client may ask to be told beside a run's steps: the texts that its search of files found."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.convert.runs import step_from_proto
from gateway.runs.log import event_frame
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError, JanError
from jan.storage.v1 import runs_pb2

# OpenAI's name for them.
_FOUND_TEXTS = "step_details.tool_calls[*].file_search.results[*].content"
_STEP_ENDED = "thread.run.step.completed"
_HEAD = f"event: {_STEP_ENDED}\ndata: ".encode()


def wants_content(request: web.Request) -> bool:
    """Whether the texts that a search of files found are to be shown. Raises InvalidArgumentError: anything else is."""
    asked = [*request.query.getall("include[]", ()), *request.query.getall("include", ())]
    if set(asked) - {_FOUND_TEXTS}:
        raise InvalidArgumentError(f"There is nothing to include but '{_FOUND_TEXTS}'.", param="include")
    return bool(asked)


async def with_content(storage: StorageClient, run: runs_pb2.Run, frame: bytes) -> bytes:
    """One of a run's events; the end of a search with the texts, which the log of all readers leaves out."""
    if not frame.startswith(_HEAD) or b'"file_search"' not in frame:
        return frame
    step_id = orjson.loads(frame.removeprefix(_HEAD))["id"]
    try:
        step = await storage.get_run_step(run.thread_id, run.id, step_id)
    except JanError:  # the stream goes on; the texts can be read with the step
        return frame
    return event_frame(_STEP_ENDED, step_from_proto(step, with_content=True))
