"""Starts the gateway."""

from __future__ import annotations

import asyncio
import os

from aiohttp import web

from gateway.app import build_app
from gateway.http.server import leave, new_runner
from gateway.settings import GatewaySettings
from jan.service import run_service
from jan.telemetry import get_logger

BACKLOG = 1024


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Answer HTTP until told to stop; then take no more, let open requests finish, and leave."""
    runner = new_runner(build_app(settings))
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.bind, settings.port, backlog=BACKLOG)
        await site.start()
        get_logger(__name__).info("listening", address=settings.bind, port=settings.port)
        await stop.wait()
        await leave(runner, site)
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
