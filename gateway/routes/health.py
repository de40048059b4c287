"""Whether the gateway lives, whether what stands behind it answers, and its figures."""

from __future__ import annotations

from aiohttp import web

from gateway.http.body import json_response
from gateway.keys import METRICS, READINESS

routes = web.RouteTableDef()


@routes.get("/healthz")
async def healthz(_request: web.Request) -> web.Response:
    """200 while the process lives."""
    return json_response({"status": "ok"})


@routes.get("/readyz")
async def readyz(request: web.Request) -> web.Response:
    """200 when storage, Redis and an engine host answer; else 503 with the names of what is missing."""
    missing = await request.app[READINESS].missing()
    if missing:
        return json_response({"status": "not ready", "missing": missing}, status=503, headers={"Retry-After": "1"})
    return json_response({"status": "ready", "missing": []})


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """The gateway's figures in Prometheus' text format."""
    return web.Response(
        body=request.app[METRICS].render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )
