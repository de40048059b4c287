"""The models that wait for a place in memory, until the placement grants or refuses it."""

from __future__ import annotations

import asyncio

from inference_service.memory.placement import Demand
from inference_service.memory.residency import Want
from inference_service.models.model import Copy, Model
from inference_service.models.registry import Registry
from jan.errors import InternalError, JanError
from jan.inference.configurations import described


class WaitingList:
    """Who waits; a model waits once at most."""

    def __init__(self, registry: Registry) -> None:
        """Nobody waits yet."""
        self._registry = registry
        self._entries: dict[str, tuple[Want, asyncio.Future[Copy]]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def wants(self) -> list[Want]:
        """What is neither granted nor refused yet."""
        return [want for want, granted in self._entries.values() if not granted.done()]

    async def place(self, model: Model, demand: Demand) -> Copy:
        """Wait until the plan has room; a new copy, or the one that slept, to be woken.

        Raises FailedPreconditionError: this host never has.
        """
        granted: asyncio.Future[Copy] = asyncio.get_running_loop().create_future()
        self._entries[model.key] = Want(demand, self._registry.monotonic()), granted
        self._registry.look.set()
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._give_back(model, granted.result())
            raise
        finally:
            del self._entries[model.key]

    @staticmethod
    def _give_back(model: Model, copy: Copy) -> None:
        if copy.engine is None:
            model.drop(copy)
        else:
            copy.rest()

    def grant(self, copy: Copy, key: str) -> None:
        """Give the waiting model this copy, which has its place."""
        self._entries[key][1].set_result(copy)

    def refuse(self, key: str, error: JanError) -> None:
        """Tell the waiting model why it gets no place."""
        self._entries[key][1].set_exception(error)

    def refuse_all(self, sentence: str) -> None:
        """Tell everyone who waits that we failed; `{}` in the sentence stands for the model."""
        for want in self.wants():
            self.refuse(want.model_id, InternalError(sentence.format(described(want.model_id))))
