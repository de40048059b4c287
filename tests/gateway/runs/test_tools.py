from __future__ import annotations

import pytest

from gateway.runs.tools import check_tools
from jan.errors import InvalidArgumentError


def test_a_stored_assistant_may_have_two_functions_of_one_name() -> None:
    """New ones are refused; those of earlier versions go on."""
    tool = {"type": "function", "function": {"name": "f"}}
    check_tools([tool, tool], None)


def test_what_is_no_function_is_refused_all_the_same() -> None:
    with pytest.raises(InvalidArgumentError, match=r"tools\[1\]"):
        check_tools([{"type": "function", "function": {"name": "f"}}, {"type": "function"}], None)
