"""The calls of functions that a run's model makes: their step's record and the events that tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.convert.items import call_part
from gateway.convert.json_fields import from_text, to_text
from gateway.convert.runs import step_from_proto
from gateway.models.schemas import functions_of
from gateway.runs import derived_ids
from gateway.runs.log import event_frame
from gateway.runs.messages import new_message
from gateway.runs.steps import StepStatus, call_details, end_step, new_step, step_delta_frame, step_frame
from gateway.schemas.namespaces import Spelled, spellings
from jan.storage.v1 import messages_pb2, runs_pb2
from jan.type.v1.usage_pb2 import Usage

Call = dict[str, Any]


class Calls:
    """The calls of one round in the making: a step that stays in progress until their outputs are there."""

    def __init__(self, run: runs_pb2.Run) -> None:
        self._run = run
        self._calls: dict[int, Call] = {}
        step_id = derived_ids.calls_step_id(run.id, run.round)
        self.step = new_step(run, step_id, runs_pb2.RUN_STEP_TYPE_TOOL_CALLS, call_details([]))

    def begun_at(self, time: Timestamp) -> None:
        """Take over when an earlier execution began these calls."""
        self.step.created_at.CopyFrom(time)

    @property
    def count(self) -> int:
        """How many were begun."""
        return len(self._calls)

    def begun_frames(self) -> list[bytes]:
        """The events in front of the first delta; there are no calls in them, or helpers double their texts."""
        step = step_from_proto(self.step)
        return [event_frame("thread.run.step.created", step), event_frame("thread.run.step.in_progress", step)]

    def add(self, delta: dict[str, Any]) -> list[bytes]:
        """Take in a piece of a call as `chat.completion.chunk` has it; returns the events that tell of it."""
        function = delta.get("function") or {}
        index = self._index_of(delta)
        call = self._calls.get(index)
        frames = []
        if call is None:
            call = self._calls[index] = {
                "id": self._free_id(delta.get("id"), index),
                "type": "function",
                "function": {"name": function.get("name") or "", "arguments": "", "output": None},
            }
            frames.append(self._delta_frame(index, {"id": call["id"], "function": dict(call["function"])}))
        if arguments := function.get("arguments"):
            call["function"]["arguments"] += arguments
            frames.append(self._delta_frame(index, {"function": {"arguments": arguments}}))
        return frames

    def close(self, usage: Usage) -> None:
        """No more is called: the step names the calls, and waits. usage: what the round cost."""
        self.step.step_details_json = to_text(call_details(list(self._calls.values())))
        self.step.usage.CopyFrom(usage)

    def cut(self, status: StepStatus, usage: Usage | None) -> None:
        """The round ended before anybody could answer; what was called is kept."""
        self.step.step_details_json = to_text(call_details(list(self._calls.values())))
        end_step(self.step, status, usage)

    def complete(self, usage: Usage | None) -> None:
        """The calls are whole, and nobody waits for their outputs. usage: None when a message has it."""
        self.step.step_details_json = to_text(call_details(list(self._calls.values())))
        end_step(self.step, runs_pb2.RUN_STEP_STATUS_COMPLETED, usage)

    def item(self, place: int) -> messages_pb2.Message:
        """The message for a call, the first of them 0, as the Responses API keeps it in a thread."""
        index, call = list(self._calls.items())[place]
        whole = self.step.status == runs_pb2.RUN_STEP_STATUS_COMPLETED
        function = call["function"]
        item = new_message(
            self._run,
            derived_ids.call_item_id(self._run.id, self._run.round, index, self._run.thread_id),
            messages_pb2.MESSAGE_STATUS_COMPLETED if whole else messages_pb2.MESSAGE_STATUS_INCOMPLETE,
        )
        item.content_json = to_text([call_part(call["id"], self._spelled(function["name"]), function["arguments"])])
        return item

    def ended_frames(self) -> list[bytes]:
        """The event of a step that ended."""
        return [step_frame(self.step)]

    @property
    def required_action(self) -> dict[str, Any]:
        """What the run waits for, in OpenAI's form."""
        calls = [
            {**call, "function": {name: call["function"][name] for name in ("name", "arguments")}}
            for call in self._calls.values()
        ]
        return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}

    def _spelled(self, flat: str) -> Spelled:
        return spelled_in(self._run).get(flat) or Spelled(flat)

    def _index_of(self, delta: dict[str, Any]) -> int:
        """The call's place. Servers that leave it out tell each call whole, or go on with the last one."""
        index = delta.get("index")
        if isinstance(index, int):
            return index
        return len(self._calls) if delta.get("id") or not self._calls else len(self._calls) - 1

    def _free_id(self, given: Any, index: int) -> str:
        """The engine's own id, which its chat template may need; another when it gave none, or one twice."""
        taken = {call["id"] for call in self._calls.values()}
        if isinstance(given, str) and given and given not in taken:
            return given
        return derived_ids.call_id(self._run.id, self._run.round, index)

    def _delta_frame(self, index: int, piece: dict[str, Any]) -> bytes:
        return step_delta_frame(self.step.id, {"index": index, "type": "function", **piece})


def calls_of(step: runs_pb2.RunStep) -> list[Call]:
    """The calls that a step names."""
    calls: list[Call] = from_text(step.step_details_json, {}).get("tool_calls", [])
    return calls


def spelled_in(run: runs_pb2.Run) -> Mapping[str, Spelled]:
    """How the client of a response spells its functions in namespaces, by the names that engines know."""
    return spellings(from_text(run.response_json, {}).get("told_back", {}).get("tools", []))


def places_in(run: runs_pb2.Run) -> list[str]:
    """Where the request has the functions that engines are told, as errors call them."""
    asked: list[str] | None = from_text(run.response_json, {}).get("places")
    return functions_of(from_text(run.tools_json, [])) if asked is None else asked
