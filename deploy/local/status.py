"""Say which processes of this run folder run: `python -m deploy.local.status`; exit code 0 when all answer."""

import os
import sys

from deploy.local import readiness, supervision
from deploy.local.settings import LocalSettings
from jan.settings import SettingsError


def main() -> int:
    """One line per process, then what the gateway says about them."""
    try:
        settings = LocalSettings.from_environment(os.environ)
    except SettingsError as error:
        print(f"janroot: {error}", file=sys.stderr)
        return 1
    states = supervision.states(settings.control_socket)
    if not states:
        print(f"Janroot is not running from {settings.run_dir}.")
        return 1
    for state in states:
        print(f"{state.name:<18} {state.state.lower():<9} {f'pid {state.pid}' if state.pid else ''}".rstrip())
    missing = readiness.missing_parts(settings)
    print(f"waiting for {', '.join(missing)}" if missing else f"ready at {settings.url}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
