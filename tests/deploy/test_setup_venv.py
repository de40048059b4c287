"""What `make setup` says when pip fails, and when it has nothing to do."""

import pytest

from deploy.local import setup_venv


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one that was locked"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching", "needs the network"),
        ("ERROR: No matching distribution found for xllamacpp==1", "no ready-made package of xllamacpp==1 for"),
        ("ERROR: something new\n[notice] A new release of pip is available", "pip failed: ERROR: something new"),
        ("", "pip failed: no message"),
    ],
)
def test_pips_failures_become_one_sentence(stderr: str, words: str) -> None:
    sentence = setup_venv.explain(stderr)
    assert words in sentence
    assert "\n" not in sentence


def test_the_stamp_changes_with_the_lock() -> None:
    assert setup_venv.stamp_text("local") != setup_venv.stamp_text("dev")
    assert setup_venv.stamp_text("local") == setup_venv.stamp_text("local")


def test_this_environment_is_stamped() -> None:
    setup_venv.set_up("dev")
    assert setup_venv.is_stamped("dev")
