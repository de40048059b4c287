"""Which files a downloaded model may be made of, and by what names (docs/security.md S20, S23, S24)."""

import re

from jan.errors import FailedPreconditionError, InvalidArgumentError
from storage_service.store import layout
from storage_service.store.pulls.record import PullFile

WEIGHTS = (".gguf", ".safetensors")
# Configurations, tokenizers and templates: data that no loader runs. `.model` is SentencePiece's protobuf.
BESIDE_WEIGHTS = (".json", ".txt", ".model", ".jinja")
# The longest tokenizer.json known has 40 MB.
MAX_BESIDE_BYTES = 128 * 1024 * 1024
MAX_FILES = 500

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def check_files(files: tuple[PullFile, ...], *, need_weights: bool) -> None:
    """Refuse what no model is made of. need_weights: some of them must be weights.

    Raises InvalidArgumentError; FailedPreconditionError: a kind that is refused.
    """
    if not 0 < len(files) <= MAX_FILES:
        raise InvalidArgumentError(f"A model has between 1 and {MAX_FILES} files, not {len(files)}.")
    if len({file.name.lower() for file in files}) < len(files):
        raise InvalidArgumentError("Two of the model's files have the same name.")
    for file in files:
        _check(file)
    if need_weights and not any(file.name.endswith(WEIGHTS) for file in files):
        raise FailedPreconditionError("There is no GGUF or safetensors file among them.", code="model_file_invalid")


def _check(file: PullFile) -> None:
    if not _NAME.fullmatch(file.name) or ".." in file.name or file.name.lower() == layout.MODEL_FILE:
        raise InvalidArgumentError(f"A file of a model cannot be called {file.name[:64]!r}.", code="invalid_file_name")
    if not file.name.endswith((*WEIGHTS, *BESIDE_WEIGHTS)):
        message = f"{file.name} is not downloaded: a model is made of GGUF or safetensors files, and of texts beside."
        raise FailedPreconditionError(message, code="model_file_invalid")
    if file.sha256 and not _SHA256.fullmatch(file.sha256):
        raise InvalidArgumentError(f"The SHA-256 of {file.name} is none.", param="sha256")
    if not file.name.endswith(WEIGHTS) and (file.size_bytes or 0) > MAX_BESIDE_BYTES:
        message = f"{file.name} is larger than any file beside a model's weights."
        raise FailedPreconditionError(message, code="model_file_invalid")
