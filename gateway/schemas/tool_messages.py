"""The calls in a chat and the messages that answer them: one without the other is refused, in OpenAI's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.http.wording import MAX_ECHO
from gateway.schemas.chat_messages import ChatMessage
from jan.errors import InvalidArgumentError

_NO_CALL = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."


def check_answered(messages: Sequence[ChatMessage]) -> None:
    """See that the messages behind one with calls answer each of them, and that none answers another.

    Raises InvalidArgumentError, naming the message at fault.
    """
    calls: set[str] = set()
    waiting: dict[str, None] = {}
    for place, message in enumerate(messages):
        if message.role == "tool":
            _check_answer(message, calls, place)
            waiting.pop(message.tool_call_id or "", None)
            continue
        if waiting:
            raise _unanswered(waiting, f"messages[{place}].role")
        made = [call.id for call in message.tool_calls or ()] if message.role == "assistant" else []
        calls, waiting = set(made), dict.fromkeys(made)
    if waiting:
        last = max(place for place, message in enumerate(messages) if message.role == "assistant")
        raise _unanswered(waiting, f"messages[{last}].tool_calls")


def _check_answer(message: ChatMessage, calls: set[str], place: int) -> None:
    if not calls:
        raise InvalidArgumentError(_NO_CALL, param=f"messages[{place}].role")
    if message.tool_call_id not in calls:
        named = str(message.tool_call_id)[:MAX_ECHO]
        text = f"Invalid parameter: 'tool_call_id' of '{named}' not found in 'tool_calls' of previous message."
        raise InvalidArgumentError(text, param=f"messages[{place}].tool_call_id")


def _unanswered(call_ids: Iterable[str], param: str) -> InvalidArgumentError:
    named = ", ".join(call_ids)[:MAX_ECHO]
    return InvalidArgumentError(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {named}",
        param=param,
    )
