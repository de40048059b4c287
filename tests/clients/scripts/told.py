"""What every script in Python does at its end: run its parts and print what each saw, as one JSON object."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import traceback
from collections.abc import Callable, Mapping
from typing import Any

MODEL = os.environ["JANROOT_MODEL"]
CALLS = os.environ["JANROOT_CALLS"]
"""A model that calls the first function it is given, and says five words when it was told the output."""
EMBEDDER = os.environ["JANROOT_EMBEDDER"]


def tell(**parts: Callable[[], Any]) -> None:
    """Run the parts in order; one that fails tells its traceback and hides no other."""
    print(json.dumps({name: _seen(part) for name, part in parts.items()}))


def _seen(part: Callable[[], Any]) -> Mapping[str, Any]:
    try:
        seen = part()
        return {"seen": asyncio.run(seen) if inspect.iscoroutine(seen) else seen}
    except BaseException:  # noqa: BLE001 (whatever a client raises is told, its exits too)
        return {"failed": traceback.format_exc()}
