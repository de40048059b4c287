"""Filling in text before a suffix: the prompt that is made of both, on a model whose file names the tokens for it."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest

from inference_service.answers.context_check import check_fits
from inference_service.answers.tokens import TokenQuestion
from inference_service.engines.client import EngineClient
from inference_service.engines.llamacpp_fim import FimTokens, with_suffix
from inference_service.models.model import Copy, Model, RunningModel
from jan.errors import InvalidArgumentError
from tests.inference_service.engines.asking import completed
from tests.inference_service.engines.test_llamacpp import make_engine

FIM = {"tokenizer.ggml.fim_pre_token_id": 3, "tokenizer.ggml.fim_suf_token_id": 4, "tokenizer.ggml.fim_mid_token_id": 5}
ALIGNMENT = 32


def key(name: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value


def with_fim(source: Path, target: Path) -> None:
    """The demo model with three more keys; a fourth fills them up, so that what follows stays aligned."""
    data = source.read_bytes()
    (keys,) = struct.unpack_from("<Q", data, 16)
    more = b"".join(key(name, 4, struct.pack("<I", token)) for name, token in FIM.items())
    empty = len(more) + len(key("general.fill", 8, struct.pack("<Q", 0)))
    fill = b"x" * (-empty % ALIGNMENT)
    more += key("general.fill", 8, struct.pack("<Q", len(fill)) + fill)
    target.write_bytes(data[:16] + struct.pack("<Q", keys + 4) + more + data[24:])


@pytest.mark.engine
async def test_a_model_with_tokens_for_it_fills_in(demo_gguf: Path, tmp_path: Path, run_dir: Path) -> None:
    weights = tmp_path / "fim.gguf"
    await asyncio.to_thread(with_fim, demo_gguf, weights)
    engine = make_engine(weights, run_dir)
    async with EngineClient(await engine.start()) as client:
        request = {"prompt": ["def f(x):", [81]], "suffix": " return x", "max_tokens": 3, "temperature": 0}
        call = engine.completion_call(request)
        assert call.body["prompt"] == [[3, "def f(x):", 4, " return x", 5], [3, 81, 4, " return x", 5]]
        answer = await completed(engine, client, request)
        before, after = [
            len((await engine.tokenize(client, TokenQuestion(text))).ids) for text in ("def f(x):", " return x")
        ]
        prompts = 3 + before + after, 3 + 1 + after
        assert answer["usage"]["prompt_tokens"] == sum(prompts)
        assert len(answer["choices"]) == 2
        running = RunningModel(Model("demo"), Copy(0, None), engine, client)
        await check_fits(running, call.body, engine.ctx_len - prompts[0])
        with pytest.raises(InvalidArgumentError, match=rf"\({prompts[0]} in your prompt"):
            await check_fits(running, call.body, engine.ctx_len)
        alone = engine.completion_call({**request, "suffix": ""})
        assert alone.body["prompt"] == request["prompt"]
        assert "suffix" not in call.body
    await engine.stop()


def test_what_begins_every_prompt_begins_this_one() -> None:
    fim = FimTokens((1,), 2, 3, 4)
    assert with_suffix(fim, ["a", [7, 8]], "b") == [[1, 2, "a", 3, "b", 4], [1, 2, 7, 8, 3, "b", 4]]


def test_a_model_without_them_says_what_to_do() -> None:
    with pytest.raises(InvalidArgumentError, match=r"no tokens for filling in .* Leave 'suffix' out, or ask") as caught:
        with_suffix(None, ["a"], "b")
    assert (caught.value.param, caught.value.code) == ("suffix", "unsupported_parameter")
