"""The life cycle as a table, and how long a failure is waited for."""

from __future__ import annotations

from inference_service.models.changes import backoff_seconds
from inference_service.models.model import TRANSITIONS, Model, ModelState
from jan.errors import FailedPreconditionError, UnavailableError


def test_back_off_grows_to_a_bound() -> None:
    assert [backoff_seconds(failures) for failures in (0, 1, 2, 3, 100)] == [0.0, 0.25, 0.5, 1.0, 8.0]


def test_only_what_may_pass_by_itself_backs_off() -> None:
    model = Model("a")
    for error, failures in ((FailedPreconditionError("broken"), 0), (UnavailableError("crashed"), 1)):
        model.enter(ModelState.STARTING)
        model.fail(error)
        assert model.failures == failures


def test_every_state_can_be_left() -> None:
    assert set(TRANSITIONS) == set(ModelState)
    assert all(TRANSITIONS.values())
