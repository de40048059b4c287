"""What a runs.jsonl says of who asked: kept for the queue, and nobody's business once a thread is given away."""

from collections.abc import Iterator

from storage_service.store import jsonl, layout
from storage_service.store.exports.folders import OpenedFile
from storage_service.store.forms import fields
from storage_service.store.records import JsonObject

# Made of a key, a name or an address.
_OF_RUNS = ("tenant",)
# What a response repeats of who it was asked for.
_OF_RESPONSES = ("user", "safety_identifier", "prompt_cache_key")


def pieces(name: str, file: OpenedFile) -> Iterator[bytes]:
    """The bytes of a file of a thread's folder, as anybody may have them."""
    return shared_lines(file.fd, file.size_bytes) if name == layout.RUNS_FILE else file.pieces()


def shared_lines(fd: int, size_bytes: int) -> Iterator[bytes]:
    """A runs.jsonl up to that length without who asked; lines without that keep every byte.

    Lines that cannot be read are left out: nobody can tell whom they name.
    """
    for segment in jsonl.segments(fd):
        if segment.offset + segment.length > size_bytes:
            return
        if segment.value is not None:
            shared = _shared(segment.value)
            yield jsonl.read(fd, segment) + b"\n" if shared == segment.value else jsonl.encode(shared)


def _shared(run: JsonObject) -> JsonObject:
    shared = {key: value for key, value in run.items() if key not in _OF_RUNS}
    response = fields.obj(run, "response")
    told = fields.obj(response, "told_back")
    if told:
        shared["response"] = response | {"told_back": {**told, **{key: None for key in _OF_RESPONSES if key in told}}}
    return shared
