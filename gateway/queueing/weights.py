"""The setting that gives tenants unequal shares of the queue."""

from __future__ import annotations

from pathlib import Path

import orjson

from jan.queue.bounds import Weights
from jan.settings import SettingsError

_NAME = "JANROOT_QUEUE_WEIGHTS"
_EVERYBODY_ELSE = "*"
# Wide enough for any wish, and narrow enough that a typing error starves nobody.
_LEAST, _MOST = 0.01, 100.0


def read_weights(value: str) -> Weights:
    """The weights in a JSON object of tenants and numbers, or in the file that is named; `*` is everybody else.

    Raises SettingsError: it is no such thing.
    """
    if not value:
        return Weights()
    if not value.startswith("{"):
        try:
            value = Path(value).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise SettingsError(f"{_NAME} names {value[:100]}, which cannot be read: {error}.") from None
    try:
        weights = orjson.loads(value)
    except ValueError:
        raise SettingsError(
            f'{_NAME} must hold a JSON object, as in {{"user:ann": 2}}, or name a file of one.'
        ) from None
    if not isinstance(weights, dict):
        raise SettingsError(f"{_NAME} must hold a JSON object, not {type(weights).__name__}.")
    for tenant, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not _LEAST <= weight <= _MOST:
            raise SettingsError(f"{_NAME} gives {tenant[:100]!r} {weight!r}; a weight is from {_LEAST} to {_MOST}.")
    shares = {tenant: float(weight) for tenant, weight in weights.items()}
    default = shares.pop(_EVERYBODY_ELSE, 1.0)
    return Weights(shares, default)
