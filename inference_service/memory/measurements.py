"""What loading really took, remembered in the run folder, so that the next estimate is better.

Only the overhead is learnt: weights and KV cache follow from the files and the settings. Losing the file costs nothing
but the better estimates.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from inference_service.memory.fit import Footprint, corrected, overhead_of
from inference_service.memory.placement import Demand
from jan.inference.configurations import model_of
from jan.telemetry import get_logger

logger = get_logger(__name__)

_MOST_BYTES = 2**50
_MOST_MODELS = 10_000


class Measurements:
    """The overhead of each model on one device, as measured; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Nothing is read before it is needed."""
        self._path = path
        self._lock = threading.Lock()
        self._overheads: dict[str, int] | None = None

    def correct(self, model_id: str, footprint: Footprint) -> Footprint:
        """The footprint as loading taught it; the same when the model was never loaded here."""
        with self._lock:
            return corrected(footprint, self._known().get(_key(model_id, footprint)))

    def is_known(self, model_id: str, footprint: Footprint) -> bool:
        """Whether the model was measured."""
        with self._lock:
            return _key(model_id, footprint) in self._known()

    def note(self, demand: Demand, measured_bytes: int, devices: int) -> None:
        """Remember what a copy held of all its devices right after loading; the most ever seen counts."""
        footprint = demand.footprint
        with self._lock:
            known = self._known()
            key = _key(demand.model_id, footprint)
            overhead = max(overhead_of(footprint, measured_bytes, devices), known.get(key, 0))
            estimated = footprint.total_bytes - footprint.growth_bytes
            logger.info("measured", model=demand.model_id, estimated_bytes=estimated, measured_bytes=measured_bytes)
            if known.get(key) != overhead and (key in known or len(known) < _MOST_MODELS):
                known[key] = overhead
                self._write(known)

    def _known(self) -> dict[str, int]:
        if self._overheads is None:
            self._overheads = _read(self._path)
        return self._overheads

    def _write(self, known: dict[str, int]) -> None:
        """A reader sees the old file or the new one. A disk that is full costs the memory of it after a restart."""
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            logger.warning("measurements cannot be kept", reason=error.strerror)


def _key(model_id: str, footprint: Footprint) -> str:
    """Other weights under the same id are another model."""
    return f"{model_of(model_id)} {footprint.weights_bytes}"


def _read(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in pairs if type(value) is int and 0 <= value <= _MOST_BYTES}
