"""The Hugging Face hub: which files a repository has.

Asked by `Fetcher`, as their bytes are; `huggingface_hub` knows the shape of its answers and what its refusals mean.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote

import orjson

from gateway.fetching.fetch import Ask, Fetcher, Limits, Reply
from gateway.pulls.source import HubSource
from jan.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError, UnavailableError

_OK = 200
# Ten thousand files take three megabytes.
_LIMITS = Limits(32 * 1024 * 1024, total_seconds=20.0, piece_seconds=20.0)
_COMMIT = re.compile(r"[A-Za-z0-9]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository. sha256: empty for small files, which the hub keeps by another hash."""

    name: str
    size_bytes: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository at one commit."""

    id: str
    commit: str
    author: str
    files: tuple[HubFile, ...]
    is_gated: bool = False


class Hub:
    """One hub. The token goes to it alone."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    def file_url(self, repo: HubRepo, name: str) -> str:
        """Where a file of a repository is, at its commit: what is fetched later is what was looked at now."""
        return f"{self.url}/{repo.id}/resolve/{quote(repo.commit, safe='')}/{quote(name)}"

    def token_for(self, url: str) -> str:
        """What a URL's server is told of who we are."""
        return self.token if url.startswith(f"{self.url}/") else ""

    async def look(self, fetcher: Fetcher, source: HubSource) -> HubRepo:
        """The files of a repository.

        Raises NotFoundError: no such repository or revision, or a private one. PermissionDeniedError: it wants its
        terms to be accepted first, or the settings forbid to ask. UnavailableError: the hub does not answer, or not
        as it should.
        """
        revision = f"/revision/{quote(source.revision, safe='')}" if source.revision else ""
        answer = await self._ask(fetcher, source, f"{revision}?blobs=true")
        try:
            repo = await asyncio.to_thread(_repo_of, answer)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise _astray(f"what it tells of '{source.repo}' cannot be read ({type(error).__name__})") from None
        if repo.is_gated:
            await self._ask(fetcher, source, "/auth-check")  # its files are listed for everybody, and given to few
        return repo

    async def _ask(self, fetcher: Fetcher, source: HubSource, path: str) -> bytes:
        """The body of a good answer to a question for a repository."""
        url = f"{self.url}/api/models/{source.repo}{path}"
        try:
            reply = await fetcher.ask(Ask(url, token=self.token), _LIMITS)
        except InvalidArgumentError as error:
            if not error.code.startswith("download_"):
                raise
            raise _astray(error.message.rstrip(".")) from None
        if reply.status != _OK:
            await asyncio.to_thread(_refuse, source, url, reply)
        return reply.body


def gated(repo: str) -> PermissionDeniedError:
    """Of a repository that wants a person to accept its terms."""
    return PermissionDeniedError(
        f"'{repo}' is gated: accept its terms on its page, and set JANROOT_HF_TOKEN to a token of that account.",
        code="repository_gated",
        param="model",
    )


def _repo_of(answer: bytes) -> HubRepo:
    """What a hub tells of a repository. Raises KeyError, TypeError, AttributeError, ValueError: not as hubs do."""
    # Imported when it is needed: it takes a quarter of a second and 30 MB, and many servers never download.
    from huggingface_hub.hf_api import ModelInfo  # noqa: PLC0415
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # noqa: PLC0415

    info = ModelInfo(**orjson.loads(answer))  # type: ignore[no-untyped-call]
    validate_repo_id(info.id)
    commit = info.sha
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise ValueError("no commit")
    files = tuple(
        HubFile(_text(file.rfilename), _size(file.size), _text(file.lfs.sha256) if file.lfs else "")
        for file in info.siblings or ()
    )
    return HubRepo(info.id, commit, _text(info.author or info.id.partition("/")[0]), files, bool(info.gated))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _size(value: object) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < 2**63):
        raise TypeError("no size")
    return value


def _refuse(source: HubSource, url: str, reply: Reply) -> NoReturn:
    """Say why a hub gave no answer; huggingface_hub knows what its refusals mean. Raises JanError, always."""
    from httpx2 import Request, Response  # noqa: PLC0415
    from huggingface_hub import errors  # noqa: PLC0415
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # noqa: PLC0415

    told = {name: value for name, value in reply.headers.items() if name.startswith("x-error-")}
    try:
        hf_raise_for_status(Response(reply.status, headers=told, request=Request("GET", url)))
    except errors.GatedRepoError:
        raise gated(source.repo) from None
    except errors.RevisionNotFoundError:
        raise _missing(f"The repository '{source.repo}' has no revision '{source.revision[:64]}'.") from None
    except errors.RepositoryNotFoundError:
        message = f"There is no repository '{source.repo}', or it is private and JANROOT_HF_TOKEN does not open it."
        raise _missing(message) from None
    except errors.HfHubHTTPError:
        pass
    if reply.status in (401, 403):
        raise PermissionDeniedError(
            f"The hub does not let us look at '{source.repo}': set JANROOT_HF_TOKEN to a token that may.",
            code="repository_denied",
            param="model",
        )
    raise _astray(f"it answered {reply.status}")


def _astray(reason: str) -> UnavailableError:
    return UnavailableError(f"The hub does not answer as it should: {reason}.")


def _missing(message: str) -> NotFoundError:
    return NotFoundError(message, code="repository_not_found", param="model")
