"""One request of a batch: what its line must say, and the job that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.completions.chat import chat_completion_job
from gateway.completions.embeddings import embeddings_job
from gateway.completions.files import with_files_read
from gateway.completions.legacy import completion_job
from gateway.http.body import parse_json_object, validate
from gateway.images.shown import Images
from gateway.models.lookup import REMOTE_ENGINE, find_model
from gateway.schemas.chat import ChatCompletionRequest
from gateway.schemas.common import JsonObject
from gateway.schemas.completions import CompletionRequest
from gateway.schemas.embeddings import EmbeddingsRequest
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError
from jan.inference.v1 import jobs_pb2

RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"

MAX_CUSTOM_ID_LENGTH = 512
_PRIORITY = jobs_pb2.PRIORITY_BATCH


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A line that is well-formed; its body may be refused yet, which is then its result."""

    custom_id: str
    body: JsonObject

    @property
    def model(self) -> str:
        """The model that it names, if it names one."""
        named = self.body.get("model")
        return named if isinstance(named, str) else ""


def read_request(data: bytes | None, endpoint: str) -> BatchRequest:
    """A line's request. Raises InvalidArgumentError with OpenAI's code; `data` is None for a line that is too long."""
    if data is None:
        raise InvalidArgumentError("This line is too long.", code="line_too_long")
    try:
        value = parse_json_object(data)
    except InvalidArgumentError:
        raise InvalidArgumentError("This line is not parseable as valid JSON.", code="invalid_json_line") from None
    for name in ("custom_id", "method", "url", "body"):
        if value.get(name) is None:
            raise InvalidArgumentError(
                f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
            )
    custom_id, body = value["custom_id"], value["body"]
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_CUSTOM_ID_LENGTH:
        message = f"'custom_id' must be a text of 1 to {MAX_CUSTOM_ID_LENGTH} characters."
        raise InvalidArgumentError(message, param="custom_id", code="invalid_value")
    if value["method"] != "POST":
        raise InvalidArgumentError("The method of a request must be POST.", param="method", code="invalid_method")
    if value["url"] != endpoint:
        message = "The URL provided for this request does not match the batch endpoint."
        raise InvalidArgumentError(message, param="url", code="mismatched_url")
    if not isinstance(body, dict):
        raise InvalidArgumentError("'body' must be an object.", param="body", code="invalid_type")
    return BatchRequest(custom_id, body)


async def job_of(storage: StorageClient, images: Images, endpoint: str, body: JsonObject, tenant: str) -> jobs_pb2.Job:
    """The job that answers a request of any endpoint but the two that have a name. Raises what it would answer with."""
    refuse_in_batches(body, "stream", "store")
    match endpoint:
        case "/v1/chat/completions":
            return await _chat_job(storage, images, body, tenant)
        case "/v1/completions":
            text = validate(body, CompletionRequest)
            text.check_supported()
            return completion_job(text, await find_model(storage, text.model), tenant, _PRIORITY)
        case _:
            texts = validate(body, EmbeddingsRequest)
            return embeddings_job(texts, await find_model(storage, texts.model), tenant, _PRIORITY)


async def _chat_job(storage: StorageClient, images: Images, body: dict[str, Any], tenant: str) -> jobs_pb2.Job:
    chat = validate(body, ChatCompletionRequest)
    model = await find_model(storage, chat.model)
    chat.check_supported(remote=model.engine == REMOTE_ENGINE, sees=model.sees)
    chat = await with_files_read(storage, chat)
    return await chat_completion_job(images, chat, model, tenant, _PRIORITY)


def refuse_in_batches(body: JsonObject, *names: str) -> None:
    """Raises InvalidArgumentError: a request has one of these set, which no batch can do."""
    for name in names:
        if body.get(name):
            raise InvalidArgumentError(
                f"'{name}' is not supported in a batch.", param=name, code="unsupported_parameter"
            )
