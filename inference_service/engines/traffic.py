"""The requests that are under way with one engine, for whoever must know whether it is stuck (`stuck.py`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Question:
    """One request. stuck: the engine was ended because of it, so it is not to be asked again."""

    asked_at: float
    answered: bool = False
    stuck: bool = False


@dataclass(slots=True)
class Traffic:
    """Every question from the moment it is sent until its answer is whole or nobody waits for it any more."""

    monotonic: Callable[[], float] = time.monotonic
    _questions: set[Question] = field(default_factory=set)

    @contextmanager
    def asking(self) -> Iterator[Question]:
        """One question for as long as the context lasts; the caller says when it is `answered`."""
        question = Question(self.monotonic())
        self._questions.add(question)
        try:
            yield question
        finally:
            self._questions.discard(question)

    def __len__(self) -> int:
        return len(self._questions)

    def silent_for(self, seconds: float) -> list[Question]:
        """The questions that have waited so long for the first word of their answer."""
        bound = self.monotonic() - seconds
        return [question for question in self._questions if not question.answered and question.asked_at <= bound]
