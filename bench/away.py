"""Measures how soon people are told that storage is gone, and that it is there again (docs/promises.md P9)."""

from __future__ import annotations

import contextlib
import http.client
import json
import statistics
import tempfile
import time
from http import HTTPStatus
from pathlib import Path

from tests.fixtures.stack import Stack

ROUNDS = 10
ASKED = {
    "GET /v1/threads": None,
    "POST /v1/threads": {},
    "POST /v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
}


def seconds_to_503(stack: Stack, asked: str, body: object) -> float:
    """Ask once; how long the refusal took."""
    method, path = asked.split()
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)
    data = None if body is None else json.dumps(body)
    began = time.monotonic()
    connection.request(method, path, data, {"Content-Type": "application/json"})
    with contextlib.closing(connection), connection.getresponse() as answer:
        answer.read()
        if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
            raise RuntimeError(f"{asked} was answered with {answer.status} although storage is gone.")
        return time.monotonic() - began


def main() -> None:
    """Kill storage, ask, start it again; print the figures."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        stack = Stack(Path(folder))
        stack.start_all()
        try:
            stack.kill("storage_service")
            for name, body in ASKED.items():
                took = [seconds_to_503(stack, name, body) for _ in range(ROUNDS)]
                print(f"{name}: 503 after {statistics.median(took):.2f} s, at most {max(took):.2f} s of {ROUNDS}")
            stack.start("storage_service")
            began = time.monotonic()
            stack.until_ready()
            print(f"ready {time.monotonic() - began:.2f} s after storage was started again")
        finally:
            stack.stop_all()


if __name__ == "__main__":
    main()
