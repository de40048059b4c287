"""Flags of a request: each `true` or `false`, in its query or its form, and none but those that a route knows.

For routes that change a lot: a misspelt `dry_run` must not be taken for none.
"""

from __future__ import annotations

from collections.abc import Iterable

from jan.errors import InvalidArgumentError

_MAX_SHOWN = 64


def read_flags(sent: Iterable[tuple[str, str]], *names: str) -> dict[str, bool]:
    """Each name's flag, False when it was not sent. Raises InvalidArgumentError: unknown, twice, or no flag."""
    flags: dict[str, bool] = {}
    for name, value in sent:
        if name not in names:
            shown = ascii(name)[1:-1][:_MAX_SHOWN]
            known = " and ".join(f"'{known}'" for known in names)
            raise InvalidArgumentError(
                f"Unknown parameter: '{shown}'. Known here: {known}.", param=shown, code="unknown_parameter"
            )
        if name in flags:
            raise InvalidArgumentError(f"Invalid '{name}': it was sent twice.", param=name)
        if value not in {"true", "false"}:
            raise InvalidArgumentError(f"Invalid '{name}': it is true or false.", param=name, code="invalid_value")
        flags[name] = value == "true"
    return dict.fromkeys(names, False) | flags
