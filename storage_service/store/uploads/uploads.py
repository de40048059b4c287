"""Files that come in parts: `.server/uploads/<id>/` holds the parts until they become a file, or an hour has gone.

The file's id follows from the upload's, so a completion that a crash cut short is made again and makes the same file.
What is not pending any more keeps only its description, until its hour is over.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, TooLargeError
from jan.ids import FileId, UploadId, UploadPartId
from storage_service.store import atomic, jsonfile, layout
from storage_service.store.clock import Clock, Stopwatch, TwoLooks
from storage_service.store.files import Files, plain_size
from storage_service.store.files import Upload as Draft
from storage_service.store.records import File
from storage_service.store.uploads import records
from storage_service.store.uploads.records import Part, Upload, UploadStatus

# OpenAI's bounds.
MAX_UPLOAD_BYTES = 8 * 1024 * 1024 * 1024
MAX_PART_BYTES = 64 * 1024 * 1024
LIFETIME_MS = 60 * 60 * 1000
# More than 8 GiB in parts of a megabyte.
MAX_PARTS = 10_000

_UPLOAD_FILE = "upload.json"
_PIECE_BYTES = 1024 * 1024
_DIGITS = 24  # of a file's id


class Uploads:
    """Begin, fill, complete and give up uploads. What changes one comes alone (see `access.py`)."""

    def __init__(self, where: layout.Layout, clock: Clock, stopwatch: Stopwatch, files: Files) -> None:
        self._layout = where
        self._clock = clock
        self._looks = TwoLooks(stopwatch)
        self._files = files

    def create(self, upload: Upload) -> Upload:
        """Begin an upload. One of this id that is there is answered as it is. Durable on return.

        Raises StorageFullError: nothing was begun.
        """
        if (there := self._read(upload.id)) is not None:
            return there
        now = self._clock()
        upload = replace(upload, created_ms=now, expires_ms=now + LIFETIME_MS)
        atomic.make_dir(self._layout.upload(upload.id))
        self._write(upload)
        return upload

    def get(self, upload_id: UploadId) -> Upload:
        """An upload as it is now. Raises NotFoundError."""
        found = self._read(upload_id)
        if found is None:
            raise NotFoundError(f"No upload found with id '{upload_id}'.")
        return found

    def begin_part(self) -> Draft:
        """Start a part, which grows where nobody sees it. Ends with `add_part`, or is discarded."""
        return self._files.begin(MAX_PART_BYTES)

    def add_part(self, upload_id: UploadId, part_id: UploadPartId, draft: Draft) -> Part:
        """Add a part that is whole. One of this id that is there is answered as it is. Durable on return.

        Raises NotFoundError, StorageFullError. FailedPreconditionError: the upload is not pending. TooLargeError: its
        parts are more, or longer, than the file can need.
        """
        place = self._layout.upload(upload_id) / part_id
        upload = self._pending(upload_id)
        if plain_size(place) is None:
            sizes = list(self._part_sizes(upload_id))
            if len(sizes) >= MAX_PARTS:
                raise TooLargeError(f"An upload may have at most {MAX_PARTS} parts.", param="data")
            # Each part may come twice, when its answer was lost.
            if sum(sizes) + draft.draft.size > 2 * upload.size_bytes:
                message = f"The parts are longer than the {upload.size_bytes} bytes that were announced."
                raise TooLargeError(message, param="data")
            draft.draft.finish()
            atomic.rename(draft.draft.path, place)
        return Part(part_id, upload_id, jsonfile.changed_ms(place) or 0)

    def complete(self, upload_id: UploadId, part_ids: Sequence[UploadPartId], md5: str) -> tuple[Upload, File]:
        """Make a file of parts, in this order. Completed of the same parts, it is answered as it is.

        Durable on return. Raises NotFoundError, StorageFullError. FailedPreconditionError: it is not pending.
        InvalidArgumentError: no such parts, or they are not what was announced; the upload stays pending.
        """
        upload = self.get(upload_id)
        if upload.status is UploadStatus.COMPLETED and upload.part_ids == tuple(part_ids):
            return upload, self._files.get(FileId(upload.file_id))
        upload = self._pending(upload_id)
        self._check_parts(upload, part_ids)
        draft = self._files.begin(MAX_UPLOAD_BYTES)
        try:
            found = hashlib.md5(usedforsecurity=False)
            for piece in self._pieces(upload_id, part_ids):
                found.update(piece)
                draft.write(piece)
            if md5 and md5.lower() != found.hexdigest():
                message = f"The MD5 of the file is {found.hexdigest()}, not what was said."
                raise InvalidArgumentError(message, param="md5", code="checksum_mismatch")
            file = self._files.finish(draft, _file_of(upload), upload.file_lifetime_seconds * 1000 or None)
        finally:
            draft.discard()
        done = replace(upload, status=UploadStatus.COMPLETED, part_ids=tuple(part_ids), file_id=file.id)
        self._end(done)
        return done, file

    def cancel(self, upload_id: UploadId) -> Upload:
        """Give an upload up. Nothing happens when it was. Raises NotFoundError.

        FailedPreconditionError: it is completed, or expired.
        """
        upload = self.get(upload_id)
        if upload.status is not UploadStatus.CANCELLED:
            upload = replace(self._pending(upload_id), status=UploadStatus.CANCELLED)
            self._end(upload)
        return upload

    def remove_expired(self) -> None:
        """Remove what has outlived its hour, see `TwoLooks`."""
        over = [upload.id for upload in self._all() if upload.expires_ms <= self._clock()]
        for upload_id in map(UploadId, self._looks.confirmed(over)):
            gone = self._layout.staging / f"{upload_id}.gone"
            atomic.rename(self._layout.upload(upload_id), gone)
            atomic.remove_tree(gone)

    def _pending(self, upload_id: UploadId) -> Upload:
        upload = self.get(upload_id)
        if upload.status is not UploadStatus.PENDING:
            raise FailedPreconditionError(f"The upload {upload_id} is {upload.status}, not pending.")
        return upload

    def _check_parts(self, upload: Upload, part_ids: Sequence[UploadPartId]) -> None:
        if len(set(part_ids)) < len(part_ids):
            raise InvalidArgumentError("A part is named twice.", param="part_ids")
        size_bytes = 0
        for part_id in part_ids:
            size = plain_size(self._layout.upload(upload.id) / part_id)
            if size is None:
                raise InvalidArgumentError(f"The upload has no part '{part_id:.64}'.", param="part_ids")
            size_bytes += size
        if size_bytes != upload.size_bytes:
            message = f"The parts hold {size_bytes} bytes; {upload.size_bytes} were announced."
            raise InvalidArgumentError(message, param="part_ids", code="bytes_mismatch")

    def _pieces(self, upload_id: UploadId, part_ids: Sequence[UploadPartId]) -> Iterator[bytes]:
        for part_id in part_ids:
            with open(self._layout.upload(upload_id) / part_id, "rb") as part:
                yield from iter(lambda part=part: part.read(_PIECE_BYTES), b"")  # type: ignore[misc]

    def _part_sizes(self, upload_id: UploadId) -> Iterator[int]:
        for path in self._part_paths(upload_id):
            yield plain_size(path) or 0

    def _part_paths(self, upload_id: UploadId) -> list[Path]:
        return [path for path in self._layout.upload(upload_id).iterdir() if path.name.startswith(UploadPartId.prefix)]

    def _end(self, upload: Upload) -> None:
        """Write what has become of an upload, then drop its parts: they are not needed any more."""
        self._write(upload)
        for path in self._part_paths(upload.id):
            path.unlink()

    def _all(self) -> Iterator[Upload]:
        for name in os.listdir(self._layout.uploads):
            try:
                found = self._read(UploadId.parse(name))
            except InvalidArgumentError:
                continue
            if found is not None:
                yield found

    def _read(self, upload_id: UploadId) -> Upload | None:
        raw = jsonfile.read(self._layout.upload(upload_id) / _UPLOAD_FILE)
        if raw is None:
            return None
        upload = records.from_json(upload_id, raw)
        has_expired = upload.status is UploadStatus.PENDING and upload.expires_ms <= self._clock()
        return replace(upload, status=UploadStatus.EXPIRED) if has_expired else upload

    def _write(self, upload: Upload) -> None:
        jsonfile.write(self._layout.upload(upload.id) / _UPLOAD_FILE, records.to_json(upload))


def _file_of(upload: Upload) -> File:
    """The file that an upload becomes; its length and times are the store's."""
    digits = hashlib.sha256(upload.id.encode()).hexdigest()[:_DIGITS]
    return File(FileId(f"{FileId.prefix}{digits}"), upload.filename, upload.purpose, size_bytes=0, created_ms=0)
