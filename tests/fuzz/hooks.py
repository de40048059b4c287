"""What Schemathesis must be told of this API: what there is, how archives are sent, and what failures must say."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from typing import Any, Final

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode
from schemathesis.generation.meta import TestPhase

from tests.fuzz.bodies import naming_what_is_there
from tests.fuzz.objects import Objects
from tests.fuzz.plain import plain

Case = schemathesis.Case[Any]
Response = schemathesis.Response

_objects = Objects()
_asked: Counter[str] = Counter()
# Every so manyth request names what was made up for it.
_MADE_UP_EVERY: Final = 4
# Every so manyth step brings what was made up for it.
_PLAIN_EVERY: Final = 3
# An id that a link has brought along.
_IS_OURS: Final = re.compile(r"[a-z]+[-_][0-9a-f]{24}|[\w-]+_[0-9]{10}(-[0-9]+)?")
_USES_UP: Final = re.compile("^DELETE|/(cancel|clear|complete|submit_tool_outputs|restore|download)$")
_CURSORS: Final = ("after", "before")
# The codes that may be told where everything is up, but a model may be no model. Anthropic's errors (529) have none.
_CODES: Final[dict[int, set[str | None]]] = {
    503: {"engine_start_failed", "engine_unavailable", "engine_crashed", "model_stopped"},
    504: {None, "timeout"},
    507: {"storage_full"},
    529: {None},
}


@schemathesis.serializer("application/zip")
def as_bytes(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Whatever was made up for an archive; it is none, and so must be refused."""
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def before_add_examples(context: schemathesis.HookContext, examples: list[Case]) -> None:
    """Ask each operation once what is right."""
    operation = context.operation
    assert operation is not None
    ids = dict.fromkeys(re.findall(r"{(\w+)}", operation.path), "made-up")
    examples.append(operation.Case(path_parameters=ids, **plain(operation.label, _objects).fields()))


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
    """Have most requests name what is there, and no version or cursor that is not; coverage names what is not there."""
    phase = case.meta.phase.name if case.meta is not None else None  # none: what is right
    if phase not in (None, TestPhase.FUZZING, TestPhase.STATEFUL):
        return
    label = case.operation.label
    _asked[label] += 1
    if "Idempotency-Key" in case.headers and _is_right(case, ParameterLocation.HEADER):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())  # the same one again is refused
    if _asked[label] % _MADE_UP_EVERY == 0:
        return
    if phase is TestPhase.STATEFUL and _asked[label] % _PLAIN_EVERY and _is_right(case, ParameterLocation.BODY):
        _say_plainly(case)  # what is refused leads nowhere
    elif isinstance(case.body, dict) and _is_right(case, ParameterLocation.BODY):
        case.body = naming_what_is_there(label, case.body, _objects)
    if case.path_parameters and _is_right(case, ParameterLocation.PATH):
        made_up = {name for name, value in case.path_parameters.items() if not _IS_OURS.fullmatch(str(value))}
        there = _objects.named_by(label) if made_up else {}
        case.path_parameters |= {name: there[name] for name in made_up & there.keys()}
    if _is_right(case, ParameterLocation.HEADER):
        case.headers.pop("If-Match", None)
    if _is_right(case, ParameterLocation.QUERY):
        for name in _CURSORS:
            case.query.pop(name, None)


@schemathesis.hook
def after_call(_context: schemathesis.HookContext, case: Case, response: Response) -> None:
    """What is gone or at its end is not named again."""
    if _USES_UP.search(case.operation.label) and response.status_code < 300:
        _objects.used_up(case.operation.label)


def _say_plainly(case: Case) -> None:
    """Have the request bring what is known to be right."""
    asked = plain(case.operation.label, _objects)
    if asked.body is not None:
        case.body, case.media_type = asked.body, asked.media_type


def _is_right(case: Case, place: ParameterLocation) -> bool:
    """Whether that part of a request is as the document tells."""
    told = case.meta.components.get(place) if case.meta is not None else None
    return told is None or told.mode is GenerationMode.POSITIVE


@schemathesis.check
def tells_why(_context: schemathesis.CheckContext, response: Response, _case: Case) -> None:
    """A failure that is no fault has its code, and says whether to come again."""
    if response.status_code in _CODES:
        assert "retry-after" in response.headers or "x-should-retry" in response.headers, dict(response.headers)
        assert response.json()["error"].get("code") in _CODES[response.status_code], response.text


@schemathesis.check
class EveryOperationWorks:
    """Each operation was answered as asked at least once, but for those that `never` names."""

    def __init__(self, never: list[str] | None = None) -> None:
        self._never = set(never or ())
        self._asked: set[str] = set()
        self._worked: set[str] = set()

    def after_response(self, _context: schemathesis.CheckContext, response: Response, case: Case) -> None:
        """Note one answer."""
        self._asked.add(case.operation.label)
        if response.status_code < 400:
            self._worked.add(case.operation.label)

    def after_run(self, _context: schemathesis.CheckContext) -> None:
        """Compare."""
        missing = self._asked - self._worked - self._never
        assert not missing, "never answered as asked: " + ", ".join(sorted(missing))
