"""A list of embeddings in OpenAI's exact form, out of an engine's answers, batch by batch. Pure."""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from inference_service.answers.shapes import NO_USAGE, Usage
from jan.errors import InvalidArgumentError

_BATCH_INPUTS: Final = 32
_FLOAT32: Final = "f"


def batches(inputs: Sequence[Any]) -> list[Sequence[Any]]:
    """Inputs in the portions that engines are asked for, so that a request which is cancelled soon ends there too."""
    return [inputs[start : start + _BATCH_INPUTS] for start in range(0, len(inputs), _BATCH_INPUTS)]


class EmbeddingList:
    """Gathers the vectors of one request, in the order of its inputs."""

    def __init__(self, model: str, request: Mapping[str, Any]) -> None:
        """`model` is the id the client asked for; `request` has been validated by the gateway."""
        self._model = model
        self._as_base64 = request.get("encoding_format") == "base64"
        self._dimensions: int | None = request.get("dimensions")
        self._vectors: list[array[float]] = []
        self.usage = NO_USAGE

    def feed(self, answer: Mapping[str, Any], count: int) -> None:
        """Take in an engine's answer to a batch of `count` inputs.

        Raises InvalidArgumentError: the vectors have not the `dimensions` that were asked for. KeyError, TypeError or
        ValueError: it is no list of so many embeddings.
        """
        vectors = [_vector(one["embedding"]) for one in sorted(answer["data"], key=lambda one: one["index"])]
        if len(vectors) != count:
            raise ValueError(f"{len(vectors)} embeddings instead of {count}")
        wanted = self._dimensions
        if wanted is not None and any(len(vector) != wanted for vector in vectors):
            raise InvalidArgumentError(
                f"The embeddings of this model have {len(vectors[0])} dimensions, not {wanted}; "
                "it cannot shorten them. Leave 'dimensions' out.",
                param="dimensions",
            )
        self._vectors += vectors
        tokens = (answer.get("usage") or {}).get("prompt_tokens") or 0
        self.usage = Usage(prompt_tokens=self.usage.prompt_tokens + tokens)

    def end(self) -> bytes:
        """The whole answer."""
        data = [
            {"object": "embedding", "index": index, "embedding": self._written(vector)}
            for index, vector in enumerate(self._vectors)
        ]
        usage = {"prompt_tokens": self.usage.prompt_tokens, "total_tokens": self.usage.prompt_tokens}
        return orjson.dumps({"object": "list", "data": data, "model": self._model, "usage": usage})

    def _written(self, vector: array[float]) -> str | list[float]:
        return b64encode(_little_endian(vector).tobytes()).decode() if self._as_base64 else vector.tolist()


def _vector(embedding: str | list[float]) -> array[float]:
    """A vector of 32-bit floats from numbers, or from base64 of them, the lowest byte first, as OpenAI has it."""
    if isinstance(embedding, str):
        return _little_endian(array(_FLOAT32, b64decode(embedding, validate=True)))
    return array(_FLOAT32, embedding)


def _little_endian(vector: array[float]) -> array[float]:
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return vector
