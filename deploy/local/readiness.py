"""Waiting until the gateway says that all parts answer, and noticing early when one never will."""

import http.client
import json
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from deploy.local import supervision
from deploy.local.settings import LocalSettings
from jan.service import EXIT_CONFIGURATION

POLL_SECONDS = 0.1
# A service that a killed neighbour takes down once may come back; one that ends three times before it was ever
# ready has a reason, and it stands in its log.
MAX_EARLY_ENDS = 3
READY_SECONDS = 180.0
SHOWN_LOG_LINES = 5


class NotReadyError(Exception):
    """Why Janroot did not become ready, in a sentence and the words of the part that failed."""


class EarlyEnds:
    """Counts how often each service ended before all were ready."""

    def __init__(self) -> None:
        self._ends: dict[str, set[int]] = defaultdict(set)

    def hopeless(self, states: list[supervision.ServiceState]) -> str | None:
        """The name of a service that will not start, once that is clear."""
        for state in states:
            if state.state not in {"BACKOFF", "EXITED", "FATAL"}:
                continue
            self._ends[state.name].add(state.stopped_at)
            if state.exit_code == EXIT_CONFIGURATION or len(self._ends[state.name]) >= MAX_EARLY_ENDS:
                return state.name
        return None


def wait_until_ready(settings: LocalSettings, manager_lives: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Return when `/readyz` is green.

    manager_lives: whether the process manager still runs. say: takes a line whenever other parts are waited for.
    Raises NotReadyError: a service ends again and again, the process manager is gone, or three minutes passed.
    """
    deadline = time.monotonic() + READY_SECONDS
    early_ends = EarlyEnds()
    said: list[str] = []
    while True:
        missing = missing_parts(settings)
        if not missing:
            return
        if missing != said:
            say(f"  waiting for {', '.join(missing)} ...")
            said = missing
        hopeless = early_ends.hopeless(supervision.states(settings.control_socket))
        if hopeless:
            raise NotReadyError(f"{hopeless} does not start. {last_words(settings.log_dir / f'{hopeless}.log')}")
        if not manager_lives():
            raise NotReadyError(f"The process manager ended. {last_words(settings.log_dir / 'supervisord.err')}")
        if time.monotonic() > deadline:
            raise NotReadyError(f"Not ready after {READY_SECONDS:.0f} s: {', '.join(missing)}; see {settings.log_dir}.")
        time.sleep(POLL_SECONDS)


def missing_parts(settings: LocalSettings) -> list[str]:
    """What `/readyz` names as missing; the gateway itself while it does not answer; empty when all is there."""
    connection = http.client.HTTPConnection(settings.address.strip("[]"), settings.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return ["gateway"]
    finally:
        connection.close()
    if answer.status == 200:
        return []
    return _named_missing(body)


def _named_missing(body: bytes) -> list[str]:
    try:
        missing = json.loads(body)["missing"]
    except (ValueError, KeyError, TypeError):
        return ["all parts to answer"]
    return [str(name) for name in missing]


def last_words(log: Path) -> str:
    """The end of a log, as a sentence about where it stands and the lines themselves."""
    try:
        newest_first = reversed(log.read_text(encoding="utf-8", errors="replace").splitlines())
        lines = list(dict.fromkeys(islice(newest_first, 100)))[:SHOWN_LOG_LINES]  # each start may have said the same
    except OSError:
        lines = []
    if not lines:
        return f"Its log is empty: {log}"
    return "\n".join([f"The end of its log ({log}):", *(f"  {line}" for line in reversed(lines))])
