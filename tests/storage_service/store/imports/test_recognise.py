"""Whose conversation it is, by its fields."""

from __future__ import annotations

from typing import Any

import pytest

from storage_service.store.imports.conversations import Product
from storage_service.store.imports.recognise import product_of
from tests.fixtures.exports import chatgpt, claude


@pytest.mark.parametrize(
    ("raw", "product"),
    [
        (chatgpt(), Product.CHATGPT),
        (claude(), Product.CLAUDE),
        ({"mapping": [], "chat_messages": {}}, None),
        ({"messages": []}, None),
        ({}, None),
    ],
)
def test_a_conversation_is_known_by_its_fields(raw: dict[str, Any], product: Product | None) -> None:
    assert product_of(raw) == product
