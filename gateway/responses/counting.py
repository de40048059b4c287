"""Counting what a response's model would read."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.runs.conversation import conversation
from gateway.runs.request import effective_parameters
from gateway.services.inference import InferenceClient
from jan.inference.v1 import control_pb2, jobs_pb2
from jan.storage.v1 import messages_pb2, runs_pb2

_PART_OF_THE_PROMPT = ("tools", "tool_choice")


async def count_tokens(
    inference: InferenceClient, spec: jobs_pb2.ModelSpec, run: runs_pb2.Run, said: Sequence[messages_pb2.Message]
) -> int:
    """The tokens of the prompt. Raises what the model's host says of one that cannot count, such as a remote one."""
    parameters = effective_parameters(run, [])
    tools = {name: parameters[name] for name in _PART_OF_THE_PROMPT if name in parameters}
    chat = orjson.dumps({"messages": conversation(run, said).messages(), **tools})
    told = await inference.tokenize(control_pb2.TokenizeRequest(model=spec, chat_json=chat.decode()))
    return len(told.tokens)
