"""Give the services' user what Docker made as root: runs once before the services, as root with almost no rights.

Docker creates a missing bind folder and every new volume as root, and the services run as JANROOT_UID. This hands over
what root owns in them, touches nobody else's files, and says in one sentence when the janroot is still not writable.
"""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

JANROOT = Path("/janroot")
OURS = (Path("/sockets"), Path("/redis"))


def hand_over(folder: Path, uid: int, gid: int) -> int:
    """Give everything that root owns below and including `folder` to a user; returns how many entries that were.

    From the leaves up: a folder that is given away may no longer be entered. Links are given, never followed.
    """
    given = 0
    for path in _leaves_first(folder):
        if path.lstat().st_uid == 0 and uid != 0:
            os.chown(path, uid, gid, follow_symlinks=False)
            given += 1
    return given


def _leaves_first(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, topdown=False):
        yield from (Path(parent, name) for name in files)
        yield from (Path(parent, name) for name in folders if Path(parent, name).is_symlink())
        yield Path(parent)


def is_writable(folder: Path, uid: int, gid: int) -> bool:
    """Whether the user can make a file in the folder; asked by trying."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
    finally:
        os.seteuid(0)
        os.setegid(0)


def is_real_root() -> bool:
    """Whether this container's root is the host's; under rootless Docker it is the person who started it."""
    try:
        return Path("/proc/self/uid_map").read_text(encoding="ascii").split() == ["0", "0", "4294967295"]
    except OSError:
        return True


def main() -> int:
    """Prepare the folders for JANROOT_UID and JANROOT_GID; returns 1, after a sentence, when that cannot be done."""
    uid, gid = int(os.environ["JANROOT_UID"]), int(os.environ["JANROOT_GID"])
    for folder in OURS:
        hand_over(folder, uid, gid)
    if is_real_root() and hand_over(JANROOT, uid, gid):
        print(f"The janroot now belongs to user {uid}.")
    if is_writable(JANROOT, uid, gid):
        return 0
    owner = JANROOT.stat()
    print(
        f"The janroot belongs to user {owner.st_uid} (mode {stat.filemode(owner.st_mode)}) and the services run as "
        f"user {uid}: put JANROOT_UID={owner.st_uid} and JANROOT_GID={owner.st_gid} into the file .env.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
