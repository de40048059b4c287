"""How the small process tells the harness what it asked and what was acknowledged."""

from __future__ import annotations

import json
import socket

from tests.chaos.history import Changes


class Teller:
    """Tells the harness; see `Ledger`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def begin(self, changes: Changes) -> None:
        self._tell("begin", changes)

    def acknowledge(self, changes: Changes) -> None:
        self._tell("acknowledge", changes)

    def refuse(self, changes: Changes) -> None:
        self._tell("refuse", changes)

    def _tell(self, word: str, changes: Changes) -> None:
        self._channel.sendall(json.dumps({word: changes}).encode() + b"\n")
