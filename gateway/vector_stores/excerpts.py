"""Excerpts of files: what a search found, as a model is told of it and as its answer cites it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.convert.json_fields import from_text
from jan.storage.v1 import vector_stores_pb2 as pb

JsonObject = dict[str, Any]

# In all; what does not fit any more is left out whole, the first excepted.
MAX_TEXT = 16_000
# Of the best result's score. What is further off has a word or two in common, and leads small models astray.
_LEAST_SHARE = 0.5
_MARK = re.compile(r"\[(\d{1,2})\]")
_LONGEST_MARK = len("[12]")
_TOLD = (
    "Excerpts from files follow. Answer from them where they help, and cite each that you use by its number, as in [1]."
)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a file. score: from 0 to 1. attributes: the file's own, in its vector store."""

    file_id: str
    filename: str
    text: str
    score: float
    attributes: JsonObject = field(default_factory=dict)


def best(hits: Iterable[pb.VectorStoreHit], limit: int) -> list[Excerpt]:
    """As many of what several searches found as a model is told of, the best first, each once."""
    once = {(hit.file_id, hit.text): hit for hit in sorted(hits, key=lambda hit: hit.score)}
    ranked = sorted(once.values(), key=lambda hit: -hit.score)
    # A fused score is one of ranks: half of the best is what any chunk has that is first by meaning alone.
    near = [hit for hit in ranked if hit.by_meaning or hit.score >= _LEAST_SHARE * ranked[0].score]
    excerpts: list[Excerpt] = []
    length = 0
    for hit in near[:limit]:
        length += len(hit.text)
        if excerpts and length > MAX_TEXT:
            break
        attributes = from_text(hit.attributes_json, {})
        excerpts.append(Excerpt(hit.file_id, hit.filename, hit.text[:MAX_TEXT], round(hit.score, 6), attributes))
    return excerpts


def with_excerpts(messages: Sequence[JsonObject], excerpts: Sequence[Excerpt]) -> list[JsonObject]:
    """A conversation with what was found in its instructions."""
    if not excerpts:
        return list(messages)
    numbered = [f"[{number}] {excerpt.filename}\n{excerpt.text}" for number, excerpt in enumerate(excerpts, 1)]
    told = "\n\n".join([_TOLD, *numbered])
    if messages and messages[0]["role"] == "system":
        told = f"{messages[0]['content']}\n\n{told}"
        messages = messages[1:]
    return [{"role": "system", "content": told}, *messages]


def citations(text: str, excerpts: Sequence[Excerpt], *, behind: int = 0) -> list[JsonObject]:
    """The annotations of an answer: every mark such as `[1]` that stands for an excerpt.

    `file_name` is ours: the Responses API wants it of a citation. behind: only those that were not whole when the text
    had so many letters.
    """
    return [
        {
            "type": "file_citation",
            "text": mark[0],
            "start_index": mark.start(),
            "end_index": mark.end(),
            "file_citation": {
                "file_id": excerpts[int(mark[1]) - 1].file_id,
                "file_name": excerpts[int(mark[1]) - 1].filename,
            },
        }
        for mark in _MARK.finditer(text, max(0, behind - _LONGEST_MARK))
        if mark.end() > behind and 1 <= int(mark[1]) <= len(excerpts)
    ]
