"""Which requests are Anthropic's: by their route or, where OpenAI has one of the same path, by the header they bear.

And which of its headers ask for what is not here.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from jan.errors import InvalidArgumentError, NotFoundError

VERSION_HEADER: Final = "anthropic-version"
# Anthropic's clients send these parameters so; both promise what nobody here keeps.
_NOT_BUILT: Final = ("anthropic-workspace-id", "anthropic-user-profile-id")
_MESSAGES: Final = "/v1/messages"
_FILES: Final = "/v1/files"
_SHARED: Final = frozenset({"/v1/models", "/v1/models/{model_id}"})


def is_anthropics(request: web.Request) -> bool:
    """Whether a request is to be answered in Anthropic's form; so is an unknown path below `/v1/messages`."""
    is_about_files = _is_below(_FILES, request) and VERSION_HEADER in request.headers
    return _is_below(_MESSAGES, request) or is_about_files or asks_for_anthropics_models(request)


def asks_for_anthropics_models(request: web.Request) -> bool:
    """Whether models are asked for by a client of Anthropic's, which always says which version it speaks."""
    resource = request.match_info.route.resource
    is_read = request.method in ("GET", "HEAD")
    return is_read and VERSION_HEADER in request.headers and resource is not None and resource.canonical in _SHARED


def check_served(request: web.Request) -> None:
    """Raises NotFoundError: a client of Anthropic's asks for its files, which would be OpenAI's to it."""
    if _is_below(_FILES, request) and is_anthropics(request):
        raise NotFoundError(
            "This server has no Files API of Anthropic's; send what a file holds in the message itself, "
            "as a 'document' or an 'image'."
        )


def check_headers(request: web.Request) -> None:
    """Raises InvalidArgumentError: a header asks for what this server does not have."""
    for name in _NOT_BUILT:
        if request.headers.get(name):
            message = f"The header '{name}' is not supported by this server; leave it out."
            raise InvalidArgumentError(message, param=name, code="unsupported_parameter")


def _is_below(path: str, request: web.Request) -> bool:
    return request.path == path or request.path.startswith(f"{path}/")
