"""What `make setup-vllm` finds missing before it downloads anything."""

from __future__ import annotations

import ctypes

import pytest

from deploy.local import setup_vllm
from deploy.local.setup_venv import SetupError


def test_a_system_without_libnuma_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(SetupError, match="apt install libnuma1"):
        setup_vllm.check_libnuma()
