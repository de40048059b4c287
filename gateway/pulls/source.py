"""What a person may write to name a model: a URL, or a Hugging Face repository in any of its usual spellings. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jan.errors import InvalidArgumentError

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPO = rf"{_NAME}/{_NAME}"
# org/repo, org/repo@revision, org/repo:file-or-quantization, and both.
_SHORT = re.compile(rf"(?P<repo>{_REPO})(?:@(?P<revision>[^:\s]+))?(?::(?P<what>[^\s]+))?", re.ASCII)
# hf://org/repo[@revision][/path/to/file], as huggingface_hub's file system spells it.
_HF = re.compile(rf"hf:(?://)?(?P<repo>{_REPO})(?:@(?P<revision>[^:/\s]+))?(?:[/:](?P<what>[^\s]+))?", re.ASCII)
# org:repo:file, as cortex had it.
_CORTEX = re.compile(rf"(?P<org>{_NAME}):(?P<name>{_NAME}):(?P<what>[^\s]+)", re.ASCII)
# A page or a file of a repository, as a browser shows it.
_PAGE = re.compile(
    rf"(?P<repo>{_REPO})(?:/(?:tree|blob|resolve)/(?P<revision>[^/?#\s]+)(?:/(?P<what>[^?#\s]+))?)?/?(?:[?#].*)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on the hub. what: a file in it, or a quantization; empty for the usual choice."""

    repo: str
    revision: str = ""
    what: str = ""

    def __str__(self) -> str:
        """As people write it."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{revision}:{self.what}" if self.what else f"{self.repo}{revision}"


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file on any HTTP server."""

    url: str

    def __str__(self) -> str:
        """Without what may be a secret: signed URLs have it in their query."""
        return self.url.partition("?")[0].partition("#")[0]


def parse_source(text: str, hub_url: str, revision: str = "") -> HubSource | UrlSource:
    """What a text names; `revision` is what was said beside it. Raises InvalidArgumentError."""
    text = text.strip()
    if text.startswith(("http://", "https://")):
        page = _PAGE.fullmatch(text.removeprefix(hub_url).lstrip("/")) if text.startswith(f"{hub_url}/") else None
        is_file = page is not None and page["repo"].endswith((".gguf", ".safetensors"))
        return UrlSource(text) if page is None or is_file else _of(page, revision)
    cortex = _CORTEX.fullmatch(text)
    if cortex:
        return HubSource(f"{cortex['org']}/{cortex['name']}", revision, cortex["what"])
    found = _HF.fullmatch(text) or _SHORT.fullmatch(text)
    if found is None:
        raise InvalidArgumentError(
            "Name a model by a URL, or by a Hugging Face repository: 'org/repo', 'org/repo:file-or-quantization' or "
            "'hf://org/repo'.",
            param="model",
            code="invalid_source",
        )
    return _of(found, revision)


def _of(found: re.Match[str], revision: str) -> HubSource:
    return HubSource(found["repo"], revision or found["revision"] or "", found["what"] or "")
