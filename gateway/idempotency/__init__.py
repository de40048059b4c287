"""Requests that may be sent again: the first answer is kept for a day under their `Idempotency-Key`."""
