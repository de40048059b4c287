"""Which state of an object somebody saw: a digest of the bytes that hold it, so an edit by hand is a new one."""

from collections.abc import Collection
from hashlib import blake2b

from jan.errors import PreconditionFailedError


def revision_of(data: bytes) -> str:
    """The revision of an object that is kept in these bytes; nothing is kept in none."""
    return blake2b(data, digest_size=12).hexdigest()


def check_revision(revision: str, wanted: Collection[str]) -> None:
    """Go on when a revision is among those wanted, or none is asked for. Raises PreconditionFailedError."""
    if wanted and revision not in wanted:
        raise PreconditionFailedError("The object changed since it was read. Read it again, then decide again.")
