"""Ids: whatever names a thing was checked once, and has a type of its own from then on."""

from __future__ import annotations

import pytest

from jan.errors import InvalidArgumentError
from jan.ids import MessageId, ModelId, ThreadId


def test_an_id_is_a_string_that_was_checked() -> None:
    # Ids come from strangers and become folder names and Redis keys. `parse` is the only way in.
    thread_id = ThreadId.parse("jan_1795333980")
    assert thread_id == "jan_1795333980"
    assert isinstance(thread_id, ThreadId)

    # What could leave its folder is refused here, before anything is touched.
    with pytest.raises(InvalidArgumentError):
        ThreadId.parse("../secrets")

    # New ids are made from 96 random bits behind the kind's prefix.
    assert MessageId.new().startswith("msg_")
    assert MessageId.new() != MessageId.new()

    # A model's id alone may name folders in folders.
    assert ModelId.parse("vendor/name") == "vendor/name"
