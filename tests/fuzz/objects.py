"""Objects that are there: what the path of an operation names is made before the operation is asked."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

from openai import OpenAI
from openai._legacy_response import HttpxBinaryResponseContent

from tests.fixtures.gateway import write_model
from tests.fixtures.tiny_models import tiny_gguf
from tests.fuzz.engine import ASSISTANT, STALLS, WEIGHTS

KNOWN: Final = "known"
"""A model that answers at once."""
SILENT: Final = "silent"
"""A model that never answers: what asks it goes on until it is cancelled."""
EMBEDS: Final = "embeds"
JANROOT: Final = "FUZZ_JANROOT"
ELSEWHERE: Final = "FUZZ_ELSEWHERE"
"""The variables that say where the models lie, and which server has the files that may be downloaded."""
HI: Final = {"role": "user", "content": "Hi"}
TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
Ids = dict[str, str]
Maker = Callable[[], Ids]


def new_numbers() -> Iterator[int]:
    """For names that nobody has, not even an earlier run against the same Janroot."""
    return count(os.getpid() * 100_000)


class Objects:
    """Makes objects by the names that paths have for them, and keeps them until they are used up."""

    def __init__(self) -> None:
        """OpenAI's client takes address and key from its own variables."""
        self._api = OpenAI(max_retries=5)
        self._kept: dict[Maker, Ids] = {}
        self._numbers = new_numbers()
        # The first pattern that fits says who makes what a path names.
        self._makers: list[tuple[str, Maker]] = [
            ("/docs/", lambda: {"name": "swagger-ui.css"}),
            ("POST /v1/models/{model_id}/pull|/v1/models/download/", self.model_without_weights),
            ("(PATCH|DELETE) /v1/models/{model_id}", self.model),
            ("/v1/models/pull/{pull_id}/events", self.pull_that_ends),
            ("/v1/models/pull/", self.pull),
            ("/v1/models/", lambda: {"model_id": KNOWN}),
            ("/v1/chat/completions/", self.completion),
            ("/v1/queue/{job_id}", self.job),
            ("/v1/responses/{response_id}/cancel", self.response_under_way),
            ("/v1/responses/", self.response),
            ("/v1/conversations/", self.conversation),
            ("/v1/threads/{thread_id}/runs/{run_id}/cancel", self.run_under_way),
            ("/v1/threads/{thread_id}/runs/{run_id}/submit", self.run_that_calls),
            ("/v1/threads/{thread_id}/runs/", self.run),
            ("/v1/threads/{thread_id}/models/", self.thread_of_another_model),
            ("/v1/threads/", self.thread),
            ("/v1/assistants/{assistant_id}/download", self.assistant_elsewhere),
            ("/v1/assistants?/", self.assistant),
            ("/v1/files/", self.file),
            ("/v1/uploads/{upload_id}/complete", self.upload_with_its_part),
            ("/v1/uploads/", self.upload),
            ("/v1/batches/", self.batch),
            ("/v1/messages/batches/{message_batch_id}/cancel", self.message_batch_under_way),
            ("/v1/messages/batches/", self.message_batch_that_ended),
            ("/v1/trash/", self.trash),
            ("/v1/vector_stores/{vector_store_id}/file_batches/", self.file_batch),
            ("/v1/vector_stores/", self.vector_store),
        ]

    def named_by(self, operation: str) -> Ids:
        """What the path of an operation, as `GET /v1/threads/{thread_id}`, is to name; empty when nobody knows."""
        make = self._maker_for(operation)
        return self.kept(make) if make is not None else {}

    def kept(self, make: Maker) -> Ids:
        """An object of a kind, made when there is none that may be used."""
        if make not in self._kept:
            self._kept[make] = make()
        return self._kept[make]

    def used_up(self, operation: str) -> None:
        """What an operation named is deleted or at its end; without a path, all of it is."""
        make = self._maker_for(operation)
        if make is not None:
            self._kept.pop(make, None)
        else:
            self._kept.clear()

    def _maker_for(self, operation: str) -> Maker | None:
        return next((make for pattern, make in self._makers if re.search(pattern.replace("{", r"\{"), operation)), None)

    def model(self) -> Ids:
        return {"model_id": self._new_model(sources=[{"url": f"{os.environ[ELSEWHERE]}/v1"}])}

    def model_without_weights(self) -> Ids:
        sources = [{"filename": "weights.gguf", "url": os.environ[ELSEWHERE] + WEIGHTS}]
        return {"model_id": self._new_model(engine="llamacpp", format="gguf", sources=sources)}

    def archive(self, path: str) -> bytes:
        """What is downloaded from there."""
        return self._api.get(path, cast_to=HttpxBinaryResponseContent).read()

    def weights(self) -> str:
        """The path of a file with weights on the server's machine."""
        path = Path(os.environ[JANROOT]).with_name("weights.gguf")
        path.write_bytes(tiny_gguf(128))
        return str(path)

    def pull(self) -> Ids:
        return self._pull(STALLS)

    def pull_that_ends(self) -> Ids:
        return self._pull(WEIGHTS)

    def completion(self) -> Ids:
        return {
            "completion_id": self._make("/chat/completions", {"model": KNOWN, "messages": [HI], "store": True})["id"]
        }

    def job(self) -> Ids:
        self.run_under_way()
        while not (jobs := self._get("/queue?limit=1000")["data"]):
            pass
        return {"job_id": jobs[-1]["id"]}

    def response(self) -> Ids:
        return {"response_id": self._make("/responses", {"model": KNOWN, "input": "Hi"})["id"]}

    def response_under_way(self) -> Ids:
        return {"response_id": self._make("/responses", {"model": SILENT, "input": "Hi", "background": True})["id"]}

    def conversation(self) -> Ids:
        made = self._make("/conversations", {"items": [{"type": "message", **HI}]})["id"]
        return {"conversation_id": made, "item_id": self._get(f"/conversations/{made}/items")["data"][0]["id"]}

    def thread(self) -> Ids:
        file_id = self.file()["file_id"]
        attached = {"file_id": file_id, "tools": [{"type": "file_search"}]}
        made = self._make("/threads", {"messages": [HI | {"attachments": [attached]}]})["id"]
        message_id = self._get(f"/threads/{made}/messages")["data"][0]["id"]
        return {"thread_id": made, "message_id": message_id, "file_id": file_id, "model_id": KNOWN}

    def thread_of_another_model(self) -> Ids:
        return {"thread_id": self._make("/threads", {})["id"], "model_id": KNOWN}

    def run(self) -> Ids:
        run = self._run(KNOWN, until={"completed"})
        step_id = self._get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/steps")["data"][0]["id"]
        return run | {"step_id": step_id}

    def run_under_way(self) -> Ids:
        return self._run(SILENT, until={"queued", "in_progress"})

    def run_that_calls(self) -> Ids:
        ids = self._run(KNOWN, until={"requires_action"}, tools=[TOOL], tool_choice="required")
        run = self._get(f"/threads/{ids['thread_id']}/runs/{ids['run_id']}")
        return ids | {"call_id": run["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]}

    def assistant(self) -> Ids:
        return {"assistant_id": self._make("/assistants", {"model": KNOWN, "name": "A"})["id"]}

    def assistant_elsewhere(self) -> Ids:
        id_ = f"elsewhere-{next(self._numbers)}"
        body = {"url": os.environ[ELSEWHERE] + ASSISTANT, "id": id_, "download": False}
        return {"assistant_id": self._make("/assistants/import", body)["id"]}

    def file(self) -> Ids:
        return {"file_id": self._api.files.create(file=("a.md", b"Roses are red."), purpose="assistants").id}

    def batch_file(self) -> Ids:
        asked = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions"}
        line = json.dumps(asked | {"body": {"model": SILENT, "messages": [HI]}}).encode()
        return {"file_id": self._api.files.create(file=("a.jsonl", line), purpose="batch").id}

    def upload(self) -> Ids:
        body = {"filename": "a.md", "purpose": "assistants", "bytes": 2, "mime_type": "text/markdown"}
        return {"upload_id": self._make("/uploads", body)["id"]}

    def upload_with_its_part(self) -> Ids:
        made = self.upload()
        part = self._api.uploads.parts.create(made["upload_id"], data=b"Hi")
        return made | {"part_id": part.id}

    def batch(self) -> Ids:
        body = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return {"batch_id": self._make("/batches", body | {"input_file_id": self.batch_file()["file_id"]})["id"]}

    def message_batch_under_way(self) -> Ids:
        return self._message_batch(SILENT)

    def message_batch_that_ended(self) -> Ids:
        made = self._message_batch(KNOWN)
        while self._get(f"/messages/batches/{made['message_batch_id']}")["processing_status"] != "ended":
            pass
        return made

    def _message_batch(self, model: str) -> Ids:
        params = {"model": model, "max_tokens": 4, "messages": [HI]}
        made = self._make("/messages/batches", {"requests": [{"custom_id": "a", "params": params}]})
        return {"message_batch_id": made["id"]}

    def trash(self) -> Ids:
        self._api.delete(f"/threads/{self._make('/threads', {})['id']}", cast_to=object)
        return {"trash_id": self._get("/trash?limit=1")["data"][0]["id"]}

    def vector_store(self) -> Ids:
        file_id = self.file()["file_id"]
        return {"vector_store_id": self._make("/vector_stores", {"file_ids": [file_id]})["id"], "file_id": file_id}

    def file_batch(self) -> Ids:
        store = self._make("/vector_stores", {})["id"]
        made = self._make(f"/vector_stores/{store}/file_batches", {"file_ids": [self.file()["file_id"]]})
        return {"vector_store_id": store, "batch_id": made["id"]}

    def _run(self, model: str, *, until: set[str], **fields: Any) -> Ids:
        thread = self._make("/threads", {"messages": [HI]})["id"]
        run = self._make(f"/threads/{thread}/runs", {"assistant_id": "jan", "model": model, **fields})
        while run["status"] not in until:
            run = self._get(f"/threads/{thread}/runs/{run['id']}")
            assert run["status"] in until | {"queued", "in_progress"}, run
        return {"thread_id": thread, "run_id": run["id"]}

    def _pull(self, path: str) -> Ids:
        wanted = {"model": os.environ[ELSEWHERE] + path, "id": f"pulled-{next(self._numbers)}"}
        return {"pull_id": self._make("/models/pull", wanted)["id"]}

    def _new_model(self, **fields: Any) -> str:
        model_id = f"spare-{next(self._numbers)}"
        write_model(Path(os.environ[JANROOT]), model_id, **fields)
        return model_id

    def _make(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self._api.post(path, body=body, cast_to=object)  # type: ignore[arg-type]
        return made

    def _get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._api.get(path, cast_to=object)  # type: ignore[arg-type]
        return found
