"""`python -m storage_service`: keep one janroot until told to stop."""

import asyncio
import os
import sys

from jan.errors import JanError
from jan.service import run_service
from storage_service import server
from storage_service.settings import StorageSettings
from storage_service.store.lock import JanrootInUseError
from storage_service.store.store import Store

# How long a thread may compute while another waits. Answers come from many short system calls, each of which may have
# to wait so long for the thread that keeps the index; Python's own 5 ms made pages ten times slower meanwhile.
_SWITCH_SECONDS = 0.0005


async def serve(settings: StorageSettings, stop: asyncio.Event) -> None:
    """Open the janroot and answer for it; a reason not to start is told in one sentence, and the exit code is 1."""
    janroot = settings.common.janroot
    try:
        store = await asyncio.to_thread(
            Store.open,
            janroot,
            demo_weights=settings.demo_weights,
            trash_days=settings.trash_days,
            hf_cache=settings.hf_cache,
            import_paths=settings.import_paths,
        )
        try:
            wants_restart = await server.serve(store, settings.common.storage_addr, stop, watch=True)
        finally:
            await asyncio.to_thread(store.close)
        if wants_restart:
            raise SystemExit(server.EXIT_RESTORING)
    except (JanrootInUseError, JanError) as error:
        raise SystemExit(f"storage_service: {error}") from None
    except OSError as error:
        raise SystemExit(f"storage_service: cannot use the janroot {janroot}: {error.strerror}.") from None


def main() -> None:
    """Run the service; see docs/janroot.md for what it keeps and jan.service for signals and exit codes."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    run_service(
        "storage_service", lambda: StorageSettings.from_environment(os.environ), lambda settings: settings.common, serve
    )


if __name__ == "__main__":
    main()
