"""GET /openapi.json and /docs: what can be asked here, for programs and for people. Nothing comes from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import ETag, web

from gateway.http.preconditions import etag
from gateway.keys import DOCUMENT

routes = web.RouteTableDef()

_PAGE: Final = Path(__file__).resolve().parent.parent / "openapi" / "page"
# The page's own files -> their content types.
_FILES: Final = {
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@routes.get("/")
async def go_to_docs(_request: web.Request) -> web.Response:
    """To the page, which Jan had here."""
    return web.Response(status=302, headers={"Location": "/docs"})


@routes.get("/openapi.json")
async def get_document(request: web.Request) -> web.Response:
    """The OpenAPI document; 304 for who has it."""
    written = await request.app[DOCUMENT].written()
    headers = {**etag(written.revision), "Cache-Control": "no-cache"}
    if any(tag in (ETag("*"), ETag(written.revision)) for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    response = web.Response(body=written.body, content_type="application/json", headers=headers)
    response.enable_compression()
    return response


@routes.get("/docs")
async def show_docs(_request: web.Request) -> web.FileResponse:
    """A page for people that shows the document, and tries what it says."""
    return _file("index.html")


@routes.get("/docs/{name}")
async def get_docs_file(request: web.Request) -> web.FileResponse:
    """A file of that page; 404 for others."""
    name = request.match_info["name"]
    if name not in _FILES:
        raise web.HTTPNotFound
    return _file(name)


def _file(name: str) -> web.FileResponse:
    headers = {"Content-Type": _FILES[name], "Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return web.FileResponse(_PAGE / name, headers=headers)
