"""The container that gives Docker's folders to the services' user."""

import os
from pathlib import Path

import pytest

from deploy.compose import prepare


def test_what_root_owns_is_given_from_the_leaves_up_and_links_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "threads/t").mkdir(parents=True)
    (tmp_path / "threads/t/thread.json").touch()
    (tmp_path / "outside").symlink_to("/etc")
    given: list[str] = []

    def record(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert (uid, gid, follow_symlinks) == (1000, 1001, False)
        given.append(str(path.relative_to(tmp_path)))

    monkeypatch.setattr(os, "chown", record)
    count = prepare.hand_over(tmp_path, 1000, 1001)
    if os.getuid() == 0:
        assert given == ["threads/t/thread.json", "threads/t", "threads", "outside", "."]
        assert count == len(given)
    else:
        assert given == []


def test_nothing_is_given_to_root(tmp_path: Path) -> None:
    assert prepare.hand_over(tmp_path, 0, 0) == 0
