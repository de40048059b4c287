"""What `make setup` says when pip fails, what it does when all is there, and the command that it puts there."""

import subprocess
from pathlib import Path

import pytest

from deploy.local import setup_venv


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one that was locked"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching", "needs the network"),
        ("ERROR: No matching distribution found for xllamacpp==1", "no ready-made package of xllamacpp==1 for"),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", "PIP_EXTRA_INDEX_URL=<that address> make"),
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


def test_the_command_is_in_the_environment_and_can_be_linked_to(tmp_path: Path) -> None:
    setup_venv.set_up("dev")
    link = tmp_path / "janroot"
    link.symlink_to(setup_venv.VENV / "bin/janroot")
    (tmp_path / "gateway.py").write_text("raise SystemExit('imported from where it was called')")
    answer = subprocess.run([str(link), "restore", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("usage: janroot restore ")


def test_an_older_command_is_replaced(tmp_path: Path) -> None:
    there = tmp_path / "bin/janroot"
    there.parent.mkdir()
    there.write_text("old")
    setup_venv.add_command(tmp_path)
    assert there.read_bytes() == setup_venv.COMMAND.read_bytes()
    assert there.stat().st_mode & 0o777 == 0o755
    made = there.stat()
    setup_venv.add_command(tmp_path)
    assert there.stat().st_ino == made.st_ino
    assert list(there.parent.iterdir()) == [there]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("restore FILE=b.zip ARGS=--yes", 'restore "b.zip" --yes'),
        ("restore UNDO=janroot-1 ARGS=--yes", 'restore --undo "janroot-1" --yes'),
        ("restore ARGS='--undo janroot-1 --yes'", "restore --undo janroot-1 --yes"),
        ("export ARGS='--all -o x.zip'", "export --all -o x.zip"),
        ("assistants-import ARGS=poet.zip", "assistants import poet.zip"),
    ],
)
def test_make_calls_it(words: str, command: str) -> None:
    done = subprocess.run(
        f"make --no-print-directory --dry-run {words}",
        shell=True,
        cwd=setup_venv.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert " ".join(done.stdout.splitlines()[-1].split()) == f"exec .venv/bin/janroot {command}"
