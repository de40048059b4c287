"""Counting what a response's model would read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import orjson

from gateway.images.places import places_of
from gateway.models.lookup import model_spec
from gateway.runs.conversation import conversation
from gateway.runs.file_search import last_found
from gateway.runs.request import effective_parameters
from gateway.services.inference import InferenceClient
from gateway.vector_stores.excerpts import with_excerpts
from jan.errors import InvalidArgumentError
from jan.inference.v1 import control_pb2
from jan.storage.v1 import messages_pb2, models_pb2, runs_pb2

_PART_OF_THE_PROMPT = ("tools", "tool_choice")


async def count_tokens(
    inference: InferenceClient,
    model: models_pb2.Model,
    run: runs_pb2.Run,
    said: Sequence[messages_pb2.Message],
    *,
    names: Sequence[str],
) -> int:
    """The tokens of the prompt. names: what the request calls its images, and at last what was said before.

    Raises InvalidArgumentError: the model would be shown an image. Raises what the model's host says of one that
    cannot count, such as a remote one.
    """
    whole = conversation(run, said, sees=model.sees)
    messages = replace(whole, system=with_excerpts(whole.system, last_found(said))).messages()
    if places_of(messages):
        message = f"Model '{model.id}' counts no images on this server; send text only."
        raise InvalidArgumentError(message, param=names[0], code="unsupported_content")
    parameters = effective_parameters(run, [])
    tools = {name: parameters[name] for name in _PART_OF_THE_PROMPT if name in parameters}
    chat = orjson.dumps({"messages": messages, **tools})
    told = await inference.tokenize(control_pb2.TokenizeRequest(model=model_spec(model), chat_json=chat.decode()))
    return len(told.tokens)
