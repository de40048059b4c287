"""`janroot models` as people call it, against a real gateway, real storage and a real engine host."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from gateway.cli.text import size, table
from tests.fixtures.engine_host import EngineHost
from tests.fixtures.gateway import MODEL_ID, Gateway, write_model
from tests.fixtures.storage import StorageServer

ROOT = Path(__file__).resolve().parents[3]


async def models(gateway: Gateway, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "--url", gateway.url, "models", *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


@pytest.fixture
async def host(engine_host: EngineHost, gateway: Gateway) -> EngineHost:
    """The engine host, reached: a channel to this address may still rest from an earlier test."""
    async with gateway.client.get("/v1/devices") as answer:
        assert answer.status == 200, await answer.text()
    return engine_host


async def test_models_are_listed_and_shown(gateway: Gateway, storage_server: StorageServer, demo_gguf: Path) -> None:
    fields = {"engine": "llamacpp", "format": "gguf", "sources": [{"filename": "m.gguf"}], "parameters": {}}
    write_model(storage_server.janroot, "org/demo", **fields, name="De\x1bmo")
    (storage_server.janroot / "models/org/demo/m.gguf").symlink_to(demo_gguf)
    assert (await models(gateway, "list"))[:2] == (
        0,
        "MODEL     STATE  SIZE\norg/demo  ready  98.4 MB\nscripted  ready\n",
    )
    _, said, _ = await models(gateway, "show", "org/demo")
    assert said.splitlines() == [
        "id         org/demo",
        "name       De\\x1bmo",
        "state      ready",
        "engine     llamacpp (gguf)",
        "size       98.4 MB",
    ]


async def test_a_model_is_started_and_stopped(gateway: Gateway, host: EngineHost) -> None:
    code, said, _ = await models(gateway, "start", MODEL_ID)
    assert (code, "state      running\n" in said) == (0, True)
    code, said, _ = await models(gateway, "list", "--json")
    assert [model["state"] for model in json.loads(said)["data"]] == ["running"]
    assert "state      ready\n" in (await models(gateway, "stop", MODEL_ID))[1]


async def test_whether_it_fits_is_the_exit_code(
    gateway: Gateway, host: EngineHost, storage_server: StorageServer, demo_gguf: Path
) -> None:
    write_model(storage_server.janroot, "demo", engine="llamacpp", format="gguf", sources=[{"filename": "m.gguf"}])
    (storage_server.janroot / "models/demo/m.gguf").symlink_to(demo_gguf)
    code, said, _ = await models(gateway, "fit", "demo", "--ctx-len", "1024", "--n-parallel", "2")
    assert (code, said.startswith("It fits now: "), "for 2 requests of 1024 tokens each: weights 9" in said) == (
        *(0, True),
        True,
    )
    code, said, _ = await models(gateway, "fit", "demo", "--ctx-len", "1000000")
    assert (code, said.startswith("It does not fit: ")) == (1, True)
    code, said, _ = await models(gateway, "fit", MODEL_ID)
    assert (code, said) == (0, "It runs elsewhere and takes no memory of this host.\n")


async def test_a_model_is_removed_and_the_way_back_is_told(gateway: Gateway) -> None:
    code, said, _ = await models(gateway, "rm", MODEL_ID)
    [entry] = (await gateway.json("GET", "/v1/trash"))["data"]
    assert (code, f"POST /v1/trash/{entry['id']}/restore undoes it" in said) == (0, True)
    assert (await models(gateway, "list"))[1].startswith("There is no model yet: ")


async def test_what_cannot_be_is_told_in_a_sentence(gateway: Gateway) -> None:
    for command in ("start", "fit", "rm"):
        code, said, complained = await models(gateway, command, "nobody")
        assert (code, said) == (2, "")
        assert complained.endswith("404: The model 'nobody' does not exist; GET /v1/models lists those that do.\n")


def test_sizes_and_tables_are_for_people() -> None:
    assert [size(n) for n in (None, 0, 999, 1_000, 98_900_000, 4_370_000_000, 10**18)] == [
        *("", "0 bytes", "999 bytes", "1.0 KB", "98.9 MB", "4.4 GB", "1000 PB"),
    ]
    assert table(["A", "B", "C"], [["1", "", "x"], ["22", "", ""]]) == "A   C\n1   x\n22"
