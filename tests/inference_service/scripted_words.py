"""What the scripted engine says to a request: token i is `token(i)`, unless a schema or a call is asked for. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any


def token(index: int) -> str:
    return f"w{index} "


def text(tokens: int) -> str:
    return "".join(token(i) for i in range(tokens))


def pieces_of(body: dict[str, Any]) -> Iterator[str]:
    """The answer piece by piece: words to the limit or the stop, else JSON in two halves."""
    schema = _schema(body)
    if schema is not None:
        example = json.dumps(_example(schema, binds=function_of(body) is None), separators=(",", ":"))
        return iter((example[:5], example[5:]))
    limit = body.get("max_tokens")
    first = said_before(body)
    words = map(token, count(first) if limit is None else range(first, first + limit))
    return _until_stop(list(words), body["stop"]) if body.get("stop") and limit is not None else words


def said_before(body: dict[str, Any]) -> int:
    """How many tokens of the answer the request itself holds, to go on from there."""
    if body.get("continue_final_message"):
        assert body["add_generation_prompt"] is False
        assert body["messages"][-1]["role"] == "assistant"
        return len(tokens_of(body["messages"][-1]["content"]))
    prompts = prompts_of(body) if "prompt" in body else []
    return len(tokens_of(prompts[0])) if len(prompts) == 1 and isinstance(prompts[0], str) else 0


def tokens_of(said: str) -> list[int]:
    """The numbers of the tokens in a text of ours."""
    return [int(number) for number in re.findall(r"w(\d+) ", said)]


def function_of(body: dict[str, Any]) -> str | None:
    """The function that is called: the one that was named, else the first there is."""
    choice = body.get("tool_choice") or "auto"
    if not body.get("tools") or choice == "none":
        return None
    name: str = choice["function"]["name"] if isinstance(choice, dict) else body["tools"][0]["function"]["name"]
    return name


def reason_of(body: dict[str, Any]) -> str:
    if function_of(body):
        return "stop" if isinstance(body.get("tool_choice"), dict) else "tool_calls"
    return "stop" if body.get("stop") or _schema(body) else "length"


def logprobs_of(body: dict[str, Any], pieces: list[str]) -> dict[str, Any] | None:
    if not body.get("logprobs"):
        return None
    likely = [{"token": word, "logprob": -number, "bytes": None} for number, word in enumerate(("a", "b"), 1)]
    alternatives = likely[: body.get("top_logprobs", 0)]
    return {"content": [{"token": p, "logprob": -1, "bytes": None, "top_logprobs": alternatives} for p in pieces]}


def prompts_of(body: dict[str, Any]) -> list[Any]:
    """The prompts of a completion: one text or several, or tokens."""
    prompt = body["prompt"]
    return [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else prompt


def completion_choice(
    body: dict[str, Any], index: int, pieces: list[str], *, after: int = 0, ends: bool = False
) -> dict[str, Any]:
    """A choice of a text completion, or the piece of it after so many others; the prompt first if it was asked for."""
    prompt = prompts_of(body)[index // body.get("n", 1)] if body.get("echo") and not after else ""
    choice: dict[str, Any] = {"index": index, "text": prompt + "".join(pieces)}
    choice["finish_reason"] = reason_of(body) if ends else None
    if body.get("logprobs") is not None:
        start = len(text(after))
        alternatives = dict([("a", -2), ("b", -3)][: body["logprobs"]])
        choice["logprobs"] = {
            "tokens": pieces,
            "token_logprobs": [-1] * len(pieces),
            "top_logprobs": [{piece: -1} | alternatives for piece in pieces],
            "text_offset": [start + len("".join(pieces[:place])) for place in range(len(pieces))],
            "extra": 1,
        }
    return choice


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    called = function_of(body)
    if called:
        (found,) = (tool["function"] for tool in body["tools"] if tool["function"]["name"] == called)
        parameters: dict[str, Any] = found.get("parameters", {})
        return parameters
    schema: dict[str, Any] | None = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    return schema


def _example(schema: dict[str, Any], *, binds: bool) -> Any:
    """Arguments that it writes by itself look at enums only."""
    properties = schema.get("properties", {}).items()
    free = {name: part.get("enum", ["x"])[0] for name, part in properties}
    return free | ({name: part["const"] for name, part in properties if "const" in part} if binds else {})


def _until_stop(words: list[str], stop: str | list[str]) -> Iterator[str]:
    said = "".join(words)
    ends = [said.find(one) for one in ([stop] if isinstance(stop, str) else stop) if one in said]
    left = min(ends, default=len(said))
    for word in words:
        if left > 0:
            yield word[:left]
        left -= len(word)
