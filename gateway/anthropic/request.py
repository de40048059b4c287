"""From a request of Anthropic's to the chat that answers it, and to the question how many tokens that is. Pure."""

from __future__ import annotations

from typing import Any, TypeVar

from gateway.anthropic.conversation import conversation, image_names, without_begun_answer
from gateway.completions.chat import chat_body, chat_job
from gateway.completions.parameters import layered, stored_parameters
from gateway.images.shown import Images
from gateway.models.lookup import REMOTE_ENGINE
from gateway.queueing.priority import Priority
from gateway.schemas.anthropic_messages import MessagesRequest, Prompt
from gateway.schemas.anthropic_tools import FreeChoice, NamedChoice, choice_for_chat
from gateway.schemas.chat import ChatCompletionRequest, unsupported
from gateway.schemas.common import JsonObject
from jan.errors import InvalidArgumentError
from jan.ids import CompletionId
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import models_pb2

_PART_OF_THE_PROMPT = ("messages", "tools", "tool_choice")


async def message_job(
    images: Images, request: MessagesRequest, model: models_pb2.Model, tenant: str, priority: Priority
) -> jobs_pb2.Job:
    """The job for POST /v1/messages, streamed in any case; the request's parameters go over the model's.

    An answer that finds no room in the context ends there, as Anthropic's does. Raises InvalidArgumentError,
    PermissionDeniedError: an image cannot be shown.
    """
    request, prefill = without_prefill(request)
    chat = _chat(request, model, sees=model.sees, **_sampling(request, model))
    messages = chat.conversation()
    if model.engine != REMOTE_ENGINE:
        messages = await images.shown(messages, image_names(request.messages))
    parameters = layered(stored_parameters(model.parameters_json), chat.parameters())
    body = chat_body(model, messages, parameters, stream=True, include_usage=True)
    job_id = CompletionId.new()
    job = chat_job(job_id, job_id, model, body, tenant=tenant, stream=True, priority=priority)
    job.prefill = prefill
    return job


PromptT = TypeVar("PromptT", bound=Prompt)


def without_prefill(request: PromptT) -> tuple[PromptT, str]:
    """A request without what it says of its answer, and that. Raises InvalidArgumentError: see the conversation."""
    messages, prefill = without_begun_answer(request.messages)
    return request.model_copy(update={"messages": messages}), prefill


def counted_chat(request: Prompt, model: models_pb2.Model) -> JsonObject:
    """What the model's chat template is told. Raises InvalidArgumentError: also for images, which are not counted."""
    chat = _chat(request, model, sees=False)
    return part_of_the_prompt({"messages": chat.conversation(), **chat.parameters()})


def part_of_the_prompt(body: JsonObject) -> JsonObject:
    """What of a chat its template is told."""
    return {name: body[name] for name in _PART_OF_THE_PROMPT if name in body}


def watches_stops(model: models_pb2.Model) -> bool:
    """Whether stop sequences are looked for here, to tell which one it was; a remote server is told them instead."""
    return model.engine != REMOTE_ENGINE


def _chat(request: Prompt, model: models_pb2.Model, *, sees: bool, **sampling: Any) -> ChatCompletionRequest:
    remote = model.engine == REMOTE_ENGINE
    for image in () if remote or sees else image_names(request.messages):
        what = "counts no images" if model.sees else "cannot see images"
        message = f"Model '{model.id}' {what} on this server; send text only."
        raise InvalidArgumentError(message, param=image, code="unsupported_content")
    fields = {
        "messages": conversation(request.system or (), request.messages),
        "response_format": request.response_format(),
        "reasoning_effort": _effort(request, remote=remote),
        **_tools(request),
        **sampling,
    }
    chat = ChatCompletionRequest.model_validate({"model": request.model, **fields})
    chat.check_supported(remote=remote, sees=sees)
    return chat


def _sampling(request: MessagesRequest, model: models_pb2.Model) -> dict[str, Any]:
    """Anthropic's parameters whose names and meanings are OpenAI's or our engines'."""
    sampling = {name: getattr(request, name) for name in ("max_tokens", "temperature", "top_p", "top_k")}
    if model.engine != REMOTE_ENGINE:
        return sampling
    if request.top_k is not None:  # no word of OpenAI's, so its server would not be told
        raise unsupported("top_k")
    return {**sampling, "stop": _stops_for_remote(request)}


def _stops_for_remote(request: MessagesRequest) -> list[str] | None:
    stops = request.stop_sequences
    if stops and len(stops) > 4:
        message = "A remote model takes at most 4 stop sequences."
        raise InvalidArgumentError(message, param="stop_sequences", code="array_above_max_length")
    return stops or None


def _effort(request: Prompt, *, remote: bool) -> str | None:
    """How much the model shall think. A remote one that shall not is told nothing: many refuse the word itself."""
    told = request.output_config.effort if request.output_config is not None else None
    thinking = request.thinking.effort if request.thinking is not None else None
    if thinking == "none":
        return None if remote else thinking
    return told or thinking


def _tools(request: Prompt) -> dict[str, Any]:
    choice = request.tool_choice
    parallel = None
    if isinstance(choice, FreeChoice | NamedChoice) and choice.disable_parallel_tool_use:
        parallel = False
    if not request.tools:
        return {}
    return {
        "tools": [tool.for_chat() for tool in request.tools],
        "tool_choice": None if choice is None else choice_for_chat(choice),
        "parallel_tool_calls": parallel,
    }
