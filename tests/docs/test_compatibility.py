"""docs/compatibility.md is what the code says, and the code says what it must of chats."""

from __future__ import annotations

from deploy import compatibility
from deploy.compatibility import ACCEPTED, IGNORED, NOT_BUILT, REFUSED, REMOTE, SUPPORTED, Endpoint
from tests.docs import markdown

FOUND = {f"{one.method} {one.path}": one for one in compatibility.endpoints()}


def words(name: str) -> dict[str, str]:
    endpoint: Endpoint = FOUND[name]
    assert endpoint.word == SUPPORTED
    return dict(endpoint.parameters)


def test_the_page_is_fresh() -> None:
    assert markdown.read("docs/compatibility.md") == compatibility.page(), "run `make compatibility`"


def test_no_parameter_is_ignored() -> None:
    for name, endpoint in FOUND.items():
        assert IGNORED not in endpoint.parameters.values(), name


def test_the_words_are_read_from_the_code() -> None:
    chat = words("POST /chat/completions")
    assert chat["tools"] == SUPPORTED
    assert chat["audio"] == REFUSED
    assert chat["verbosity"] == REMOTE
    assert chat["prompt_cache_key"] == ACCEPTED
    assert words("GET /chat/completions")["metadata"] == SUPPORTED
    assert words("POST /files") == {"expires_after": SUPPORTED, "file": SUPPORTED, "purpose": SUPPORTED}
    assert FOUND["POST /moderations"].word == REFUSED
    assert FOUND["POST /evals/{eval_id}/runs"].word == REFUSED
    assert NOT_BUILT not in {FOUND[name].word for name in ("GET /models", "POST /threads/runs", "POST /embeddings")}
