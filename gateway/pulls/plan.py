"""From what was asked for to the files to fetch: asks the hub, and looks at the head of what other servers give."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from gateway.convert.json_fields import to_text
from gateway.fetching.fetch import Ask, Fetcher, Limits
from gateway.pulls.at_once import at_once
from gateway.pulls.hub import Hub, HubFile, HubRepo
from gateway.pulls.selection import choose
from gateway.pulls.source import HubSource, UrlSource, parse_source
from jan.errors import FailedPreconditionError, InvalidArgumentError
from jan.formats.vision import best_projector, is_projector
from jan.ids import ModelId
from jan.storage.v1 import pulls_pb2

# The largest file of a model known is a tenth of it.
MAX_FILE_BYTES = 2**41
LIMITS = Limits(MAX_FILE_BYTES, total_seconds=7 * 24 * 3600.0)
MAX_SOURCES = 100

_MAGIC_BYTES = 4
_SHARD = re.compile(r"(?P<stem>.*)-00001-of-(?P<count>\d{5})\.gguf", re.ASCII)
# Of a URL's query no more is written into a model.json: whatever else a server asks for may be a secret.
_HARMLESS = frozenset({"download"})


@dataclass(frozen=True, slots=True)
class Named:
    """A file of a model as its model.json or a request names it."""

    url: str
    filename: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be fetched, and what it will be called."""

    model_id: ModelId
    source: str
    files: tuple[pulls_pb2.PullFile, ...]
    engine: str
    format: str
    author: str = ""

    def request(self, name: str = "", base_model: str = "", *, described: bool = False) -> pulls_pb2.BeginPullRequest:
        """The plan for storage; `described`: the model has its model.json already."""
        model_json = "" if described else to_text(self._model_json(name, base_model))
        return pulls_pb2.BeginPullRequest(
            model_id=self.model_id, source=self.source, files=self.files, model_json=model_json
        )

    def _model_json(self, name: str, base_model: str) -> dict[str, Any]:
        """As Jan wrote it; storage adds what only the files tell."""
        base = {"base_model": base_model} if base_model else {}
        ggufs = [file.name for file in self.files if file.name.endswith(".gguf")]
        weights = [gguf for gguf in ggufs if not is_projector(gguf)]
        projector = {"mmproj": eyes} if (eyes := best_projector(ggufs)) else {}
        return {
            "sources": [{"filename": file.name, "url": _without_secrets(file.url)} for file in self.files],
            "id": self.model_id,
            "object": "model",
            "name": name or self.model_id.rpartition("/")[2],
            "version": "1.0",
            "description": f"Downloaded from {self.source}",
            "format": self.format,
            "settings": base | ({"llama_model_path": weights[0]} if weights else {}) | projector,
            "parameters": {},
            "metadata": {"author": self.author, "tags": [], "size": 0},
            "engine": self.engine,
        }


class Planner:
    """Makes plans."""

    def __init__(self, fetcher: Fetcher, hub: Hub) -> None:
        self._fetcher = fetcher
        self._hub = hub

    async def plan(self, text: str, *, wanted: str = "", revision: str = "") -> Plan:
        """The plan for a URL or a repository; `wanted` is the model's id, "" for one of ours.

        Raises InvalidArgumentError, NotFoundError, PermissionDeniedError, FailedPreconditionError, UnavailableError:
        why it cannot be downloaded.
        """
        source = parse_source(text, self._hub.url, revision)
        if isinstance(source, HubSource):
            return await self._plan_repo(source, wanted)
        return await self._plan_url(source, wanted)

    async def plan_sources(self, named: Sequence[Named], wanted: str) -> Plan:
        """The plan for a list of files. Raises as `plan`."""
        model_id = ModelId.parse(wanted)
        files = await at_once([self._file_of(one) for one in named], "look at a file")
        return _plan(model_id, ", ".join(str(UrlSource(one.url)) for one in named)[:500], files)

    async def _plan_repo(self, source: HubSource, wanted: str) -> Plan:
        repo = await self._hub.look(self._fetcher, source)
        chosen = choose(repo.files, source.what)
        stem = _stem(chosen[0].name) if chosen[0].name.endswith(".gguf") else repo.id.rpartition("/")[2]
        files = [self._hub_file(repo, file) for file in chosen]
        return _plan(ModelId.parse(wanted or _usable(stem)), str(source), files, author=repo.author)

    async def _plan_url(self, source: UrlSource, wanted: str) -> Plan:
        name = _file_name(source.url)
        if name.endswith(".safetensors"):
            raise InvalidArgumentError(
                "A safetensors model is several files: name its repository, or list its files in 'sources'.",
                param="model",
                code="invalid_source",
            )
        files = await at_once([self._file_of(Named(url)) for url in _shards(source.url)], "look at a file")
        model_id = ModelId.parse(wanted or _usable(_stem(files[0].name)))
        return _plan(model_id, str(source), files)

    async def _file_of(self, named: Named) -> pulls_pb2.PullFile:
        """One file, with what its server says of it."""
        source = parse_source(named.url, self._hub.url)
        if isinstance(source, HubSource):
            repo = await self._hub.look(self._fetcher, source)
            found = next((file for file in repo.files if file.name == source.what), None)
            if found is None:
                message = f"The repository '{repo.id}' has no file {source.what[:64]!r}."
                raise InvalidArgumentError(message, param="sources", code="source_file_not_found")
            file = self._hub_file(repo, found)
        else:
            file = await self._probe(source.url)
        file.name = named.filename or file.name
        if named.sha256 and file.sha256 not in ("", named.sha256.lower()):
            raise InvalidArgumentError(f"The hub has another {file.name} than the one of that SHA-256.", param="sha256")
        file.sha256 = named.sha256.lower() or file.sha256
        return file

    def _hub_file(self, repo: HubRepo, file: HubFile) -> pulls_pb2.PullFile:
        name = file.name.rpartition("/")[2]
        url = self._hub.file_url(repo, file.name)
        return pulls_pb2.PullFile(name=name, url=url, size_bytes=file.size_bytes, sha256=file.sha256)

    async def _probe(self, url: str) -> pulls_pb2.PullFile:
        """A file's size and state, and whether it begins as its name says. Only its first bytes are asked for."""
        name = _file_name(url)
        ask = Ask(url, length=_MAGIC_BYTES, token=self._hub.token_for(url))
        async with self._fetcher.open(ask, LIMITS) as part, aclosing(part.pieces):
            begin = await anext(part.pieces, b"")
            size, validator = part.total_bytes, part.validator
        is_gguf = begin.startswith(b"GGUF")
        if is_gguf and not name.endswith(".gguf"):
            name = f"{name}.gguf"
        if name.endswith(".gguf") != is_gguf or "." not in name:
            message = f"What is at {UrlSource(url)} is no GGUF file: it does not begin as one."
            raise FailedPreconditionError(message, code="model_file_invalid")
        return pulls_pb2.PullFile(name=name, url=url, size_bytes=size, validator=validator)


def _plan(model_id: ModelId, source: str, files: Sequence[pulls_pb2.PullFile], author: str = "") -> Plan:
    is_gguf = any(file.name.endswith(".gguf") for file in files)
    engine, form = ("llamacpp", "gguf") if is_gguf else ("vllm", "safetensors")
    return Plan(model_id, source, tuple(files), engine, form, author)


def _file_name(url: str) -> str:
    """A file's name from its URL, in the letters that a name may have."""
    last = unquote(str(UrlSource(url)).rstrip("/").rpartition("/")[2])
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-.")[-200:] or "model"


def _stem(name: str) -> str:
    return re.sub(r"-\d{5}-of-\d{5}$", "", name.removesuffix(".gguf"))


def _usable(stem: str) -> str:
    """An id from a name: without what ids cannot have."""
    return re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]+", "-", stem)).strip(".-") or "model"


def _shards(url: str) -> list[str]:
    """All parts of a model of which the first is named."""
    plain, mark, query = url.partition("?")
    shard = _SHARD.fullmatch(plain)
    count = int(shard["count"]) if shard else 1
    if shard is None or not 0 < count <= MAX_SOURCES:
        return [url]
    return [f"{shard['stem']}-{number:05}-of-{count:05}.gguf{mark}{query}" for number in range(1, count + 1)]


def _without_secrets(url: str) -> str:
    kept = [(name, value) for name, value in parse_qsl(url.partition("#")[0].partition("?")[2]) if name in _HARMLESS]
    return f"{UrlSource(url)}?{urlencode(kept)}" if kept else str(UrlSource(url))
