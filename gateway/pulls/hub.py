"""The Hugging Face hub, asked through `huggingface_hub` which files a repository has. Their bytes come by `Fetcher`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.pulls.source import HubSource
from jan.errors import FailedPreconditionError, JanError, NotFoundError, PermissionDeniedError, UnavailableError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

_ASK_SECONDS = 20.0


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

    async def look(self, source: HubSource) -> HubRepo:
        """The files of a repository.

        Raises NotFoundError: no such repository or revision, or a private one. PermissionDeniedError: it wants its
        terms to be accepted first. UnavailableError: the hub does not answer.
        """
        return _repo_of(await asyncio.to_thread(self._ask, source))

    def _ask(self, source: HubSource) -> ModelInfo:
        # Imported when it is needed: it takes a quarter of a second and 30 MB, and many servers never download.
        from httpx2 import HTTPError  # noqa: PLC0415
        from huggingface_hub import HfApi, errors  # noqa: PLC0415

        # False, or it would take the token of whoever started us.
        api = HfApi(endpoint=self.url, token=self.token or False, library_name="janroot")
        try:
            info = api.model_info(
                source.repo, revision=source.revision or None, files_metadata=True, timeout=_ASK_SECONDS
            )
            if info.gated:
                api.auth_check(source.repo)  # its files are listed for everybody, and given to few
            return info
        except errors.GatedRepoError:
            raise gated(source.repo) from None
        except errors.RevisionNotFoundError:
            raise _missing(f"The repository '{source.repo}' has no revision '{source.revision[:64]}'.") from None
        except (errors.RepositoryNotFoundError, errors.HFValidationError):
            message = f"There is no repository '{source.repo}', or it is private and JANROOT_HF_TOKEN does not open it."
            raise _missing(message) from None
        except errors.HfHubHTTPError as error:
            raise _refused(source, error.response.status_code) from None
        except (HTTPError, OSError, ValueError) as error:
            raise UnavailableError(f"The hub does not answer as it should ({type(error).__name__}).") from None


def gated(repo: str) -> PermissionDeniedError:
    """Of a repository that wants a person to accept its terms."""
    return PermissionDeniedError(
        f"'{repo}' is gated: accept its terms on its page, and set JANROOT_HF_TOKEN to a token of that account.",
        code="repository_gated",
        param="model",
    )


def _repo_of(info: ModelInfo) -> HubRepo:
    if not info.sha:
        raise FailedPreconditionError("The hub does not say at which commit the repository is.")
    files = tuple(
        HubFile(sibling.rfilename, sibling.size, sibling.lfs.sha256 if sibling.lfs else "")
        for sibling in info.siblings or ()
    )
    return HubRepo(info.id, info.sha, info.author or info.id.partition("/")[0], files)


def _refused(source: HubSource, status: int) -> JanError:
    if status in (401, 403):
        return PermissionDeniedError(
            f"The hub does not let us look at '{source.repo}': set JANROOT_HF_TOKEN to a token that may.",
            code="repository_denied",
            param="model",
        )
    return UnavailableError(f"The hub answered with status {status}.")


def _missing(message: str) -> NotFoundError:
    return NotFoundError(message, code="repository_not_found", param="model")
