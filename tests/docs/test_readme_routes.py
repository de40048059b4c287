"""The README's table of routes is the gateway's."""

from __future__ import annotations

import re

from gateway.app import build_app
from gateway.settings import GatewaySettings
from tests.docs import markdown


def test_the_table_names_every_route_and_no_other() -> None:
    app = build_app(GatewaySettings.from_environment({}))
    routes = {
        (route.method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"  # aiohttp adds one for each GET
    }
    table = markdown.section(markdown.read("README.md"), "## What works today")
    named = {
        (method, path) for methods, path in re.findall(r"`([A-Z ]+) (/[^`]*)`", table) for method in methods.split()
    }
    assert named == routes
