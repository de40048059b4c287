"""Assistants that come from elsewhere: taken in whole, or waited for until they are downloaded.

A waiting assistant is a folder whose assistant.json has its `source_url` and `"state": "to_download"`. Its one commit
point is the replacement of that file: before it the assistant waits, after it the assistant is here.
"""

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

from jan.errors import ConflictError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.ids import AssistantId
from storage_service.store import atomic, jsonfile, layout
from storage_service.store.assistant_folder import AssistantFolder, same, unpack
from storage_service.store.assistants import Assistants
from storage_service.store.files import Upload
from storage_service.store.forms import assistants as form
from storage_service.store.forms import fields
from storage_service.store.records import Assistant, DownloadError, JsonObject

EXISTS = "assistant_exists"


class Arrival:
    """Something on its way in, which grows and is unpacked where nobody sees it. Ends with `discard`. One user."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._upload = Upload(place.with_name(f"{place.name}.sent"))

    def write(self, data: bytes) -> None:
        """Add bytes. Raises TooLargeError: beyond the limit of a file. StorageFullError: no room. Discard it then."""
        self._upload.write(data)

    def unpack(self) -> AssistantFolder:
        """All of it, as a folder that can be put in its place; takes a while.

        Raises InvalidArgumentError: not an assistant, or hostile. StorageFullError.
        """
        self._upload.draft.finish()
        return unpack(self._upload.draft.path, self._place)

    def discard(self) -> None:
        """Leave nothing behind but what was put in its place."""
        self._upload.discard()
        atomic.remove_tree(self._place)


class AssistantImports:
    """Take assistants in. One change at a time is assumed, as for `Assistants`; uploads and unpacking may overlap."""

    def __init__(self, where: layout.Layout, assistants: Assistants) -> None:
        self._layout = where
        self._assistants = assistants
        self._numbers = itertools.count()

    def begin(self) -> Arrival:
        """Start to take something in."""
        return Arrival(self._layout.staging / f"assistant.{next(self._numbers)}")

    def register(self, wanted: AssistantId | None, source_url: str) -> Assistant:
        """Make an assistant that waits for its download. The same again answers the stored one. Durable on return.

        Raises ConflictError: the id has another assistant. StorageFullError.
        """
        stored = self._find(wanted) if wanted else self._from(source_url)
        if stored is not None:
            if stored.source_url != source_url:
                raise _exists(stored.id)
            return stored
        assistant_id = wanted or AssistantId.new()
        folder = self._layout.assistant(assistant_id)
        self._check_free(assistant_id, folder)
        raw = form.to_download(assistant_id, source_url, self._assistants.claim_ms())
        atomic.make_dir(folder)
        jsonfile.write(folder / layout.ASSISTANT_FILE, raw)
        return self._assistants.adopt(assistant_id)

    def put(
        self, arrived: AssistantFolder, wanted: AssistantId | None, nameless: AssistantId | None = None
    ) -> Assistant:
        """Put a folder in its place, under `wanted`, its own name, the id in its file, or `nameless`. Durable.

        An id that has the same files answers that assistant. Raises ConflictError: it has others. StorageFullError.
        """
        named = wanted or _id(arrived.name) or _id(fields.text(arrived.description, "id"))
        assistant_id = named or nameless or AssistantId.new()
        folder = self._layout.assistant(assistant_id)
        description = form.imported(arrived.description)
        if description != arrived.description:
            jsonfile.write(arrived.path / layout.ASSISTANT_FILE, description)
        stored = self._find(assistant_id)
        if stored is not None:
            if not same(arrived.path, folder):
                raise _exists(assistant_id)
            return stored
        self._check_free(assistant_id, folder)
        atomic.publish(arrived.path, folder)
        return self._assistants.adopt(assistant_id)

    def start(self, assistant_id: AssistantId) -> Assistant:
        """Forget why the last download failed, since another begins. Durable on return. Raises as `check_waits`."""
        self.check_waits(assistant_id)
        return self.fail(assistant_id, None)

    def check_waits(self, assistant_id: AssistantId) -> None:
        """Raises NotFoundError. FailedPreconditionError: the assistant does not wait for a download."""
        if not self._assistants.get(assistant_id).is_pending:
            raise FailedPreconditionError(
                f"The assistant '{assistant_id}' is here already. To get it anew, delete it first; that can be undone.",
                code="assistant_ready",
            )

    def arrive(self, arrived: AssistantFolder, assistant_id: AssistantId) -> Assistant:
        """Put a downloaded folder into the one that waits. What people changed there meanwhile stays. Durable.

        Raises NotFoundError: it was deleted. FailedPreconditionError: it does not wait any more. StorageFullError.
        """
        self.start(assistant_id)
        folder = self._layout.assistant(assistant_id)
        for name in sorted(os.listdir(arrived.path)):
            if name != layout.ASSISTANT_FILE:
                self._move_in(arrived.path / name, folder / name)
        atomic.sync_dir(folder)
        self._rewrite(assistant_id, lambda raw: form.downloaded(raw, arrived.description))
        return self._assistants.adopt(assistant_id)

    def fail(self, assistant_id: AssistantId, error: DownloadError | None) -> Assistant:
        """Keep why a download failed, if the assistant still waits for it. Durable. Raises NotFoundError."""
        stored = self._assistants.get(assistant_id)
        if stored.is_pending and stored.error != error:
            self._rewrite(assistant_id, lambda raw: form.failed(raw, error))
        return self._assistants.get(assistant_id)

    def _move_in(self, source: Path, target: Path) -> None:
        """Nothing that lies there already is lost: it moves into the quarantine."""
        if os.path.lexists(target):
            atomic.rename(target, self._layout.quarantine / f"{target.parent.name}.{target.name}.{time.time_ns()}")
        atomic.move(source, target)

    def _rewrite(self, assistant_id: AssistantId, change: Callable[[JsonObject], JsonObject]) -> None:
        path = self._layout.assistant(assistant_id) / layout.ASSISTANT_FILE

        def once() -> None:
            found = jsonfile.look(path)
            if found.value is None:
                raise NotFoundError(f"No assistant found with id '{assistant_id}'.")
            jsonfile.write(path, change(found.value), found.signature)

        atomic.again_if_changed(once)

    def _find(self, assistant_id: AssistantId) -> Assistant | None:
        try:
            return self._assistants.get(assistant_id)
        except NotFoundError:
            return None

    def _from(self, source_url: str) -> Assistant | None:
        return next((one for one in self._assistants.all() if one.source_url == source_url), None)

    def _check_free(self, assistant_id: AssistantId, folder: Path) -> None:
        """A folder without a description, as Jan 0.6 leaves one of a deleted assistant, may hold anything."""
        if os.path.lexists(folder):
            raise ConflictError(
                f"The folder 'assistants/{assistant_id}' exists and is no assistant; move it away, or take another id.",
                code=EXISTS,
            )


def _id(text: str) -> AssistantId | None:
    try:
        return AssistantId.parse(text)
    except InvalidArgumentError:
        return None


def _exists(assistant_id: AssistantId) -> ConflictError:
    return ConflictError(
        f"There is another assistant with the id '{assistant_id}'; send a free 'id', or delete that one first.",
        code=EXISTS,
        param="id",
    )
