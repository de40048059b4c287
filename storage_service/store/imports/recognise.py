"""Whose conversation a JSON object is. The products call their files the same, so the fields tell."""

from storage_service.store.imports.conversations import Product
from storage_service.store.records import JsonObject


def product_of(raw: JsonObject) -> Product | None:
    """The product that an object is a conversation of; None when it is none that is known."""
    if isinstance(raw.get("mapping"), dict):
        return Product.CHATGPT
    return Product.CLAUDE if isinstance(raw.get("chat_messages"), list) else None
