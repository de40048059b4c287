"""Parts of OpenAI's API that this server does not have on purpose, and why: who asks for one is told so.

They are 404 like other unknown URLs (SDKs repeat what is 500 or above by themselves), with a code of their own.
"""

from __future__ import annotations

CODE = "unsupported_endpoint"

FAMILIES: dict[str, str] = {
    "moderations": "No model here judges texts; ask a chat model to.",
    "content_provenance_checks": "It makes no images, so there is nothing to prove of them.",
    "images": "Models here write text; they make no images.",
    "videos": "Models here write text; they make no videos.",
    "audio": "Models here neither hear nor speak.",
    "realtime": "Models here neither hear nor speak; stream a chat instead.",
    "fine_tuning": "Models are trained elsewhere; put the weights, or a LoRA adapter, below the models folder.",
    "evals": "Evaluations run on the client's side; a stored chat can be fetched for them.",
    "containers": "No code is run here.",
    "skills": "No code is run here.",
    "chatkit": "It is OpenAI's own hosted surface; threads and runs do its work here.",
    "organization": "It has no organizations; who may come in is set where it runs.",
    "projects": "It has no projects; who may come in is set where it runs.",
}
"""The first segment of a path below /v1/ -> why it is not served."""


def why_not_built(path: str) -> str | None:
    """What to say to who asks for a path; None when it belongs to nothing that is known."""
    version, _, rest = path.lstrip("/").partition("/")
    family = rest.partition("/")[0]
    if version != "v1" or family not in FAMILIES:
        return None
    return f"This server does not have OpenAI's /v1/{family}. {FAMILIES[family]}"
