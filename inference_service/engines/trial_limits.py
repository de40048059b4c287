"""How chat templates are tried, and what a trial may take.

A trial ends with 0 when the templates may be used or are merely wrong, with `UNSAFE` or by a signal when they are not
safe. With any other code it was no trial.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

UNSAFE: Final = 3
"""The exit code that says so."""
CPU_SECONDS: Final = 2
"""An honest template takes a tenth of one."""
_LIMITS: Final = {
    "cpu_seconds": CPU_SECONDS,
    "memory_bytes": 2**30,
    "prompt_bytes": 2**20,  # more than any template makes of conversations this short
    "unsafe": UNSAFE,
}

_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {}}}},
}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
_USER = {"role": "user", "content": "Hello, how are you?"}

_CONVERSATIONS: Final[tuple[dict[str, Any], ...]] = (
    {"messages": [_USER]},
    {"messages": [{"role": "system", "content": "Be kind."}, _USER, {"role": "assistant", "content": "Well."}, _USER]},
    {
        "messages": [
            _USER,
            {"role": "assistant", "content": "", "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "2"},
        ],
        "tools": [_TOOL],
    },
)


def trial_json(templates: Mapping[str, str], instead: str) -> str:
    """What a trial reads: a model's templates by name, the one to be used instead ("" for none), and its limits."""
    trial = {"templates": dict(templates), "instead": instead, "limits": _LIMITS, "conversations": _CONVERSATIONS}
    return json.dumps(trial)
