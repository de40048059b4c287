"""A container's health check: `health.py unix:/path` asks a gRPC service, `health.py http://...` the gateway.

Exits 0 when it answers that it serves, 1 otherwise.
"""

import asyncio
import sys
import urllib.error
import urllib.request


async def grpc_serves(address: str) -> bool:
    """Whether the service at the address says so to the standard health check."""
    from jan.rpc import is_serving, open_channel  # noqa: PLC0415 (the gateway's check need not load gRPC)

    async with open_channel(address) as channel:
        return await is_serving(channel)


def http_serves(url: str) -> bool:
    """Whether the URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310 (the compose file gives the URL)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    target = sys.argv[1]
    healthy = http_serves(target) if target.startswith("http://") else asyncio.run(grpc_serves(target))
    sys.exit(0 if healthy else 1)
