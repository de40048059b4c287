"""What is no error and what is, in what engines say."""

from __future__ import annotations

import pytest

from inference_service.jobs.hearing import hear
from jan.errors import InternalError


class Told:
    """An answer that keeps what it is fed."""

    def __init__(self) -> None:
        self.chunks: list[object] = []

    def feed(self, chunk: object) -> list[bytes]:
        """Take a chunk in, and say nothing."""
        self.chunks.append(chunk)
        return []


def test_a_chunk_that_names_no_error_is_part_of_the_answer() -> None:
    told = Told()
    assert hear([b'{"error":null,"choices":[]}'], told) == ([], False)  # type: ignore[arg-type]
    assert told.chunks == [{"error": None, "choices": []}]


@pytest.mark.parametrize("said", [b"[]", b"1", b'"x"'])
def test_what_is_no_object_is_no_part_of_an_answer(said: bytes) -> None:
    with pytest.raises(InternalError):
        hear([said], Told())  # type: ignore[arg-type]
