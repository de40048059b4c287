"""Files for Anthropic's clients: not here, told in their form; OpenAI's clients see nothing of that."""

from __future__ import annotations

import pytest
from anthropic import AsyncAnthropic, NotFoundError

from tests.fixtures.gateway import Gateway


async def test_files_are_not_found_in_anthropics_form(gateway: Gateway, anthropic_client: AsyncAnthropic) -> None:
    for asking in (
        anthropic_client.beta.files.list(),
        anthropic_client.beta.files.retrieve_metadata("file-a"),
        anthropic_client.beta.files.delete("file-a"),
        anthropic_client.beta.files.upload(file=("a.txt", b"a", "text/plain")),
    ):
        with pytest.raises(NotFoundError, match="in the message itself") as refused:
            await asking
        assert isinstance(refused.value.body, dict)
        assert refused.value.body["type"] == "error"
        assert refused.value.body["error"]["type"] == "not_found_error"
    assert (await gateway.json("GET", "/v1/files"))["data"] == []
