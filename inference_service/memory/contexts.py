"""A smaller context for a model whose settings name none, where the usual one does not fit the host. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from inference_service.devices.device import Device
from inference_service.memory.placement import Demand, choose

LEAST_CTX_TOKENS: Final = 2_048
"""What no default goes below; a model that does not fit with it is refused."""


def reduced_ctx_tokens(usual: int, demand_of: Callable[[int], Demand], devices: Sequence[Device]) -> int | None:
    """The largest half, quarter … of the usual context with which a model fits on `devices` when they are empty.

    None when it fits as it is, and when nothing down to LEAST_CTX_TOKENS helps.
    """
    empty = {device.id: device.free_bytes for device in devices}

    def fits(ctx_tokens: int) -> bool:
        return choose(demand_of(ctx_tokens), devices, empty) is not None

    return None if fits(usual) else next(filter(fits, _smaller(usual)), None)


def in_words(usual: int, reduced: int) -> str:
    """The reduction, for people."""
    return (
        f"Its context is {reduced} tokens instead of {usual}, which do not fit in this host's memory; "
        "a ctx_len in its settings is never changed."
    )


def _smaller(ctx_tokens: int) -> Iterator[int]:
    while ctx_tokens > LEAST_CTX_TOKENS:
        ctx_tokens = max(LEAST_CTX_TOKENS, ctx_tokens // 2)
        yield ctx_tokens
