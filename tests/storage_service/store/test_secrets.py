"""Keys in other programs' settings are found, however they lie there."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from storage_service.store import secrets

DEEP: Any = {"api_key": "sk-1"}
for _ in range(500):
    DEEP = [{"more": DEEP}]


@pytest.mark.parametrize(
    ("value", "names", "blanked"),
    [
        ({"full_url": "https://a", "api_key": "sk-1"}, ["api_key"], {"full_url": "https://a", "api_key": ""}),
        ({"api_key": "", "max_tokens": "9", "key": "theme"}, [], {"api_key": "", "max_tokens": "9", "key": "theme"}),
        ({"apiKeys": ["sk-1", "", ["sk-2"]]}, ["apiKeys", "apiKeys"], {"apiKeys": ["", "", [""]]}),
        ({"token": {"kind": "bearer", "n": 7}}, ["token"], {"token": {"kind": "", "n": 7}}),
        (
            [{"key": "openai-api-key", "title": "Key", "controllerProps": {"value": "sk-1", "placeholder": "sk-…"}}],
            ["openai-api-key"],
            [{"key": "openai-api-key", "title": "Key", "controllerProps": {"value": "", "placeholder": "sk-…"}}],
        ),
        (
            [{"key": "chat-url", "controllerProps": {"value": "https://a"}}, {"key": "x", "controllerProps": {}}],
            [],
            None,
        ),
        ("sk-1", [], None),
        (None, [], None),
    ],
)
def test_secrets_are_named_and_blanked(value: Any, names: list[str], blanked: Any) -> None:
    before = copy.deepcopy(value)
    assert list(secrets.names(value)) == names
    assert value == before
    assert secrets.blank(value) == names
    assert value == (before if blanked is None else blanked)


def test_depth_hides_no_secret() -> None:
    assert secrets.blank(DEEP) == ["api_key"]
    assert not list(secrets.names(DEEP))
