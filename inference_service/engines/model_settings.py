"""Reading a model's `settings`: a fixed schema, numbers also as text, nothing dropped silently."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jan.errors import FailedPreconditionError
from jan.inference.v1.jobs_pb2 import ModelSpec

_MAX_TEXT_CHARS = 100_000  # one argument of a program may have 131,072 bytes on Linux
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


HOSTING_SETTINGS = ("idle_seconds", "replicas")
"""What the service itself heeds (`inference_service.hosting`), whatever the engine."""


class ModelSettings:
    """Takes known settings out of a map and remembers, as sentences, what it could not use."""

    def __init__(self, settings_json: str) -> None:
        """Raises FailedPreconditionError: the text is no JSON object."""
        self._left = parse_settings(settings_json)
        self.warnings: list[str] = []

    def integer(self, name: str, default: int, minimum: int, maximum: int) -> int:
        """A whole number between two bounds; `default` when absent, null or unusable."""
        return self._read_integer(name, minimum, maximum, default) or default

    def optional_integer(self, name: str, minimum: int, maximum: int) -> int | None:
        """As `integer`, None when absent, null or unusable."""
        return self._read_integer(name, minimum, maximum, None)

    def flag(self, name: str, default: bool) -> bool:
        """True or false, also as the texts "true" and "false"."""
        value = self._left.pop(name, None)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self._refuse(name, value, "true or false")
        return default

    def optional_flag(self, name: str) -> bool | None:
        """As `flag`, None when absent, null or unusable."""
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return None
        refused = len(self.warnings)
        value = self.flag(name, False)
        return value if len(self.warnings) == refused else None

    def optional_fraction(self, name: str) -> float | None:
        """A number above 0 and at most 1, also as text; None when absent, null or unusable."""
        value = self._left.pop(name, None)
        number = _number(value)
        if number is not None and 0 < number <= 1:
            return number
        if value is not None:
            self._refuse(name, value, "a number above 0 and at most 1")
        return None

    def word(self, name: str) -> str:
        """One word of letters, digits, `_`, `.` and `-`; "" when absent, null or unusable."""
        value = self._left.pop(name, None)
        if value is None or (isinstance(value, str) and _WORD.fullmatch(value)):
            return value or ""
        self._refuse(name, value, "one word of letters, digits and _ . -")
        return ""

    def text(self, name: str) -> str:
        """A text without NUL that fits into a program's argument; "" when absent, null or unusable."""
        return self.optional_text(name) or ""

    def optional_text(self, name: str) -> str | None:
        """As `text`, None when absent, null or unusable."""
        value = self._left.pop(name, None)
        if value is None:
            return None
        if isinstance(value, str) and "\0" not in value and len(value.encode("utf-8", "replace")) <= _MAX_TEXT_CHARS:
            return value
        self._refuse(name, value, f"a text of at most {_MAX_TEXT_CHARS} bytes")
        return None

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """One of the allowed words, whatever their case; the first when absent, null or unusable."""
        value = self._left.pop(name, None)
        if value is None:
            return allowed[0]
        if isinstance(value, str) and value.lower() in allowed:
            return value.lower()
        self._refuse(name, value, f"one of {', '.join(allowed)}")
        return allowed[0]

    def skip(self, *names: str) -> None:
        """Settings that somebody else has already heeded."""
        for name in names:
            self._left.pop(name, None)

    def finish(self, engine: str) -> tuple[str, ...]:
        """All warnings, with one for each setting that nobody asked about."""
        ignored = (
            f"Setting {_quoted(name)} is not used by engine {engine}."
            for name in self._left
            if name not in HOSTING_SETTINGS
        )
        return (*self.warnings, *ignored)

    def _read_integer(self, name: str, minimum: int, maximum: int, default: int | None) -> int | None:
        value = self._left.pop(name, None)
        number = _whole_number(value)
        if number is not None and minimum <= number <= maximum:
            return number
        if value is not None:
            self._refuse(name, value, f"a whole number between {minimum} and {maximum}")
        return default

    def _refuse(self, name: str, value: object, wanted: str) -> None:
        self.warnings.append(f"Setting {name} is {_quoted(value)}, but must be {wanted}; the default is used.")


def parse_settings(settings_json: str) -> dict[str, Any]:
    """The settings as a map; empty text means none. Raises FailedPreconditionError: the text is no JSON object."""
    try:
        settings = json.loads(settings_json or "{}")
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise FailedPreconditionError("The model's settings are not a JSON object.", code="model_settings_invalid")
    return settings


def with_settings(spec: ModelSpec, **settings: Any) -> ModelSpec:
    """The same model with other values for some settings. Raises FailedPreconditionError: as `parse_settings`."""
    changed = ModelSpec()
    changed.CopyFrom(spec)
    changed.settings_json = json.dumps(parse_settings(spec.settings_json) | settings)
    return changed


def same_settings(one: str, other: str) -> bool:
    """Whether two settings texts mean the same, whatever the order of their keys."""
    return one == other or _canonical(one) == _canonical(other)


def _canonical(settings_json: str) -> Mapping[str, Any]:
    return parse_settings(settings_json)


def _whole_number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            return int(value) if len(value) < 20 else None
        except ValueError:
            return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 32:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _quoted(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else text[:60] + "..."
