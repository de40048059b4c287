"""Parameters of other servers that change answers there: ignored in silence they would be missed, so they are refused.

What changes no answer (`keep_alive`, `drop_params`) is ignored as any field that nobody knows (docs/decisions/0020).
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from gateway.http.refusals import FIELD
from gateway.schemas.common import RequestModel

_SCHEMA: Final = "send 'response_format' with a 'json_schema'"
_OPTIONS: Final = "send each of them by OpenAI's name, such as 'temperature' or 'max_completion_tokens'"
_EFFORT: Final = "send 'reasoning_effort', where 'none' asks for no thoughts"
_LEAVE: Final = "leave it out"

INSTEAD: Final[dict[str, str]] = {
    # vLLM
    "guided_json": _SCHEMA,
    "guided_regex": f"{_SCHEMA} whose text has a 'pattern'",
    "guided_choice": f"{_SCHEMA} that has an 'enum'",
    "guided_grammar": f"grammars are not taken; {_SCHEMA}",
    "guided_decoding_backend": _LEAVE,
    "guided_whitespace_pattern": _LEAVE,
    "structured_outputs": _SCHEMA,
    "structural_tag": _SCHEMA,
    "enable_thinking": _EFFORT,
    "include_stop_str_in_output": _LEAVE,
    "continue_final_message": _LEAVE,
    "allowed_token_ids": "send 'logit_bias'",
    "bad_words": "send 'logit_bias'",
    "stop_token_ids": "send 'stop'",
    "use_beam_search": _LEAVE,
    # llama.cpp
    "grammar": f"grammars are not taken; {_SCHEMA}",
    "json_schema": _SCHEMA,
    "n_predict": "send 'max_completion_tokens'",
    # Ollama
    "format": _SCHEMA,
    "think": _EFFORT,
    "options": _OPTIONS,
    "raw": _LEAVE,
    "template": _LEAVE,
}
"""The parameter -> what to send for it here."""
# Of these `false` is a wish too.
_SWITCHES: Final = frozenset({"think", "enable_thinking"})


class RefusesElsewheres(RequestModel):
    """A request that other servers take with parameters of their own. What asks for nothing is as if left out."""

    @model_validator(mode="before")
    @classmethod
    def _says_it_in_words_that_are_known(cls, body: Any) -> Any:
        for name, instead in INSTEAD.items() if isinstance(body, dict) else ():
            value = body.get(name)
            if value or (value is False and name in _SWITCHES):
                message = "This server does not know it; {instead}"
                raise PydanticCustomError("unsupported_parameter", message, {"instead": instead, FIELD: name})
        return body
