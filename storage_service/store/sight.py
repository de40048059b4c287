"""Whether a model takes images: a projector among its GGUF files, an eye in its config.json, and no setting against."""

import stat
from pathlib import Path

from jan.formats.config import MAX_CONFIG_BYTES, parse_config
from jan.formats.description import LyingHeaderError
from jan.formats.vision import blinded, has_eyes, projector_among
from storage_service.store.records import Model

_CONFIG = "config.json"


def sees(folder: Path, model: Model) -> bool:
    """Whether the engine of a model with files in `folder` will take images; a folder that cannot be read says no."""
    if model.engine == "llamacpp":
        return bool(projector_among(model.files, model.settings))
    if model.engine != "vllm" or blinded(model.settings):
        return False
    try:
        # Links are followed, as engines do; what is no file, a pipe say, would be waited for.
        found = (folder / _CONFIG).stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_CONFIG_BYTES:
            return False
        return has_eyes(parse_config((folder / _CONFIG).read_bytes()))
    except (OSError, LyingHeaderError):
        return False
