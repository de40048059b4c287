"""Starts the gateway."""

from __future__ import annotations

import asyncio
import os

from aiohttp import web

from gateway.app import build_app
from gateway.settings import GatewaySettings
from jan.service import run_service
from jan.telemetry import get_logger

# How long open requests may go on after SIGTERM (RELIABILITY P16).
DRAIN_SECONDS = 20.0
BACKLOG = 1024


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Answer HTTP until told to stop; then take no more, let open requests finish, and leave."""
    # With handler_cancellation a client that leaves cancels its handler, which frees its place in the engine.
    runner = web.AppRunner(
        build_app(settings), access_log=None, handler_cancellation=True, shutdown_timeout=DRAIN_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.bind, settings.port, backlog=BACKLOG).start()
        get_logger(__name__).info("listening", address=settings.bind, port=settings.port)
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """Run the gateway; see `jan.service.run_service` for signals and exit codes."""
    run_service(
        "gateway",
        lambda: GatewaySettings.from_environment(os.environ),
        lambda settings: settings.common,
        serve,
    )


if __name__ == "__main__":
    main()
