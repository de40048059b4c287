"""No id and no link leads out of the janroot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId, ModelId, ThreadId
from storage_service.store.layout import Layout

HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "a/../b",
    "/etc",
    "a\\b",
    "a\0b",
    "con",
    "x" * 300,
    "a\nb",
    "ä",
    "a\u2215b",
    ".server",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_ids_are_refused_even_when_nobody_parsed_them(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path)
    builders: list[Callable[[], Path]] = [
        lambda: layout.thread(ThreadId(text)),
        lambda: layout.assistant(AssistantId(text)),
        lambda: layout.model(ModelId(text)),
    ]
    for build in builders:
        with pytest.raises(InvalidArgumentError):
            build()


def test_ids_become_folders(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.thread(ThreadId("jan_1704504633")) == tmp_path / "threads/jan_1704504633"
    assert layout.model(ModelId("vendor/name")) == tmp_path / "models/vendor/name"


def test_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    layout = Layout(tmp_path / "janroot")
    layout.make_collections()
    (layout.threads / "linked").symlink_to(outside)
    (layout.models / "vendor").symlink_to(outside)
    with pytest.raises(InvalidArgumentError):
        layout.thread(ThreadId("linked"))
    with pytest.raises(InvalidArgumentError):
        layout.model(ModelId("vendor/name"))


def test_the_janroot_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "janroot").symlink_to(tmp_path / "real")
    assert Layout(tmp_path / "janroot").thread(ThreadId("a")) == tmp_path / "real/threads/a"
