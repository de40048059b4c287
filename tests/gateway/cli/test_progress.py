"""Bars are for eyes: a log or a pipe gets none."""

from __future__ import annotations

import io
import sys

import pytest

from gateway.cli.progress import bytes_bar, items_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_shown_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with bytes_bar("backup", 2048) as advance:
        advance(2048)
    assert "backup" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


def test_nothing_is_shown_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    with bytes_bar("backup", 10) as advance, items_bar("import", unit="threads") as done:
        advance(10)
        done(1)
    assert capfd.readouterr() == ("", "")
