"""A body of countless wrong items is refused at the first: pydantic makes no error of each of them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.http.refusals import refusal_of
from gateway.schemas.anthropic_batches import CreateMessageBatch
from gateway.schemas.anthropic_messages import MessagesRequest
from gateway.schemas.assistants import CreateAssistant
from gateway.schemas.chat import ChatCompletionRequest
from gateway.schemas.common import RequestModel
from gateway.schemas.embeddings import EmbeddingsRequest
from gateway.schemas.responses import CreateResponse
from gateway.schemas.threads import CreateThread
from gateway.schemas.vector_stores import CreateVectorStore, UpdateAttributes

MANY = 2000
WRONG: dict[str, Any] = {str(number): [] for number in range(MANY)}
USER = {"role": "user", "content": "Hi"}
CALLING = {"role": "assistant", "tool_calls": [0] * MANY}
CHAT = {"model": "m", "messages": [USER]}
MESSAGE = {"model": "m", "max_tokens": 5, "messages": [USER]}
RESPONSE = {"model": "m", "input": "Hi"}
CITED = {"type": "text", "text": "x", "citations": [0] * MANY}


@pytest.mark.parametrize(
    ("model", "body", "param"),
    [
        (ChatCompletionRequest, {**CHAT, "logit_bias": WRONG}, "logit_bias"),
        (ChatCompletionRequest, {**CHAT, "logit_bias": {f"x{name}": 1 for name in WRONG}}, "logit_bias.x0"),
        (ChatCompletionRequest, {**CHAT, "metadata": WRONG}, "metadata"),
        (ChatCompletionRequest, {**CHAT, "stop": [0] * MANY}, "stop[0]"),
        (ChatCompletionRequest, {**CHAT, "tools": [0] * MANY}, "tools[0]"),
        (ChatCompletionRequest, {**CHAT, "modalities": [0] * MANY}, "modalities[0]"),
        (ChatCompletionRequest, {**CHAT, "messages": [0] * MANY}, "messages[0]"),
        (
            ChatCompletionRequest,
            {**CHAT, "messages": [{**USER, "tool_calls": [0] * MANY}]},
            "messages[0].tool_calls[0]",
        ),
        (CreateThread, {"metadata": WRONG}, "metadata"),
        (CreateThread, {"messages": [0] * MANY}, "messages[0]"),
        (CreateAssistant, {"model": "m", "tools": [0] * MANY}, "tools[0]"),
        (EmbeddingsRequest, {"model": "m", "input": [1] + [""] * MANY}, "input[1]"),
        (EmbeddingsRequest, {"model": "m", "input": [""] * MANY}, "input[0]"),
        (CreateResponse, {**RESPONSE, "metadata": WRONG}, "metadata"),
        (CreateResponse, {**RESPONSE, "input": [{}] * MANY}, "input[0].role"),
        (CreateResponse, {**RESPONSE, "include": [0] * MANY}, "include[0]"),
        (CreateResponse, {**RESPONSE, **WRONG}, "0"),
        (MessagesRequest, {**MESSAGE, **WRONG}, "0"),
        (MessagesRequest, {**MESSAGE, "metadata": WRONG}, "metadata.0"),
        (MessagesRequest, {**MESSAGE, "messages": [{"role": "user", "content": [CITED]}]}, "messages[0].content[0]"),
        (CreateMessageBatch, {"requests": [0] * MANY}, "requests[0]"),
        (CreateVectorStore, {"file_ids": [0] * MANY}, "file_ids[0]"),
        (UpdateAttributes, {"attributes": WRONG}, "attributes"),
    ],
)
def test_only_the_first_wrong_items_become_errors(model: type[RequestModel], body: dict[str, Any], param: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    assert caught.value.error_count() < 10
    assert refusal_of(caught.value).param == param
