"""Stop what `make up` started from this run folder, and wait until all of it is gone: `python -m deploy.local.down`."""

import os
import signal
import sys

from deploy.local import processes, supervision
from deploy.local.settings import LocalSettings
from jan.settings import SettingsError


def main() -> int:
    """End the process manager, which ends the services in order; then whatever a killed manager left behind."""
    try:
        settings = LocalSettings.from_environment(os.environ)
    except SettingsError as error:
        print(f"janroot: {error}", file=sys.stderr)
        return 1
    manager = processes.living(settings.run_dir, ["supervisord"]).get("supervisord")
    if manager is not None:
        processes.send(manager, signal.SIGTERM)
        processes.wait_until_gone(manager, settings.run_dir, supervision.stop_seconds(settings))
    left = processes.end(settings.run_dir, ["supervisord", *reversed(settings.services)], supervision.LEFTOVER_SECONDS)
    print("Janroot is stopped." if manager is not None or left else f"Janroot is not running from {settings.run_dir}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
