"""The differences between engines that are no defects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

from inference_service.engines.client import EngineClient


class Trait(StrEnum):
    """How an engine may differ."""

    WHOLE_ANSWERS_STREAM = "a whole answer is streamed from it and gathered here"
    HANDS_SCHEMAS_ON = "what binds its answers is somebody else's affair: a schema is handed on as it is"
    TELLS_NO_TOKENS = "it cannot be asked what its tokens are"
    REFUSES_TO_CHOOSE_TOOLS = "nothing reads its model's tool calls, so it cannot be left the choice to call one"
    NO_TOOLS_IN_TEMPLATE = "its model's chat template has no tools: left to itself it answers in prose"


BusySlots = Callable[[EngineClient], Awaitable[int]]
