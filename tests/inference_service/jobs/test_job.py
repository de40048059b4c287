from __future__ import annotations

import pytest

from inference_service.jobs.job import TRANSITIONS, Happening, JobState, next_state
from jan.queue.jobs import MAX_LOST_WORKERS

OPEN = {JobState.TAKEN, JobState.ASKED, JobState.SPEAKING}


def test_nothing_happens_after_an_end() -> None:
    assert {state for state, _ in TRANSITIONS} == OPEN


@pytest.mark.parametrize("state", sorted(OPEN))
@pytest.mark.parametrize("happening", sorted(set(Happening) - {Happening.ASKED, Happening.SPOKE}))
@pytest.mark.parametrize("continuable", [True, False])
def test_every_happening_from_outside_ends_every_open_state(
    state: JobState, happening: Happening, continuable: bool
) -> None:
    assert next_state(state, happening, attempt=1, continuable=continuable) not in OPEN


@pytest.mark.parametrize("happening", [Happening.ENGINE_LOST, Happening.ENGINE_DIED, Happening.DRAINED])
def test_what_was_said_is_gone_on_with_or_kept(happening: Happening) -> None:
    assert next_state(JobState.ASKED, happening, attempt=1, continuable=False) is JobState.RELEASED
    assert next_state(JobState.SPEAKING, happening, attempt=1, continuable=True) is JobState.RELEASED
    assert next_state(JobState.SPEAKING, happening, attempt=1, continuable=False) is JobState.FAILED


def test_a_job_does_not_go_round_for_ever() -> None:
    for state in (JobState.ASKED, JobState.SPEAKING):
        lost = next_state(state, Happening.ENGINE_LOST, attempt=MAX_LOST_WORKERS, continuable=True)
        drained = next_state(state, Happening.DRAINED, attempt=MAX_LOST_WORKERS, continuable=True)
        assert (lost, drained) == (JobState.FAILED, JobState.RELEASED)
