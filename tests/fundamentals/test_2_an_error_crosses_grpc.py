"""Errors: raised where the fact is known, caught as the same error in another process."""

from __future__ import annotations

import pytest

from gateway.services.storage import StorageClient
from jan.errors import NotFoundError
from tests.fixtures.storage import StorageServer


async def test_storage_knows_that_a_thread_is_missing_and_the_gateway_hears_of_it(
    storage_server: StorageServer,
) -> None:
    # The gateway's client of storage. Between the two is real gRPC, on a unix socket.
    storage = StorageClient(storage_server.channel)

    # Storage raises NotFoundError; jan.rpc carries it over in a trailer; the caller catches a NotFoundError.
    with pytest.raises(NotFoundError) as raised:
        await storage.get_thread("nobody_1")

    # Its message was written for the person who asked. gateway/http/errors.py makes 404 of its kind.
    assert raised.value.message == "No thread found with id 'nobody_1'."
    assert raised.value.kind == "not_found"
