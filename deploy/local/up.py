"""Start Janroot on this machine: `python -m deploy.local.up [--detach]` (`make up`).

Looks first (preflight.py), starts the process manager (supervision.py), waits until all is ready (readiness.py), and
stays until Ctrl-C or SIGTERM; with --detach it returns when ready, and `make down` ends what it started.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from types import FrameType

from deploy.local import preflight, processes, readiness, supervision
from deploy.local.settings import LocalSettings
from jan.settings import SettingsError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEMO_MODEL = "smollm2-135m-instruct"


class StopRequested(BaseException):
    """The user or the system wants us to stop. Not an Exception: nothing on the way may swallow it."""


def main() -> int:
    """Start and stay, or say in one sentence why not."""
    parser = argparse.ArgumentParser(description="Start Janroot on this machine.")
    parser.add_argument("--detach", action="store_true", help="return when ready")
    detach = parser.parse_args().detach
    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, _request_stop)
    try:
        settings = LocalSettings.from_environment(os.environ)
        preflight.check_settings(os.environ)
        with preflight.start_lock(settings.run_dir):
            preflight.check_no_other_instance(settings.run_dir)
            processes.end(settings.run_dir, reversed(settings.services), supervision.LEFTOVER_SECONDS)
            preflight.check(settings)
            return run(settings, detach=detach)
    except (SettingsError, preflight.PreflightError, readiness.NotReadyError) as error:
        print(f"janroot: {error}", file=sys.stderr)
        return 1
    except StopRequested:
        return 0


def run(settings: LocalSettings, *, detach: bool) -> int:
    """Start everything, wait until it is ready, and stay unless detached. Returns the exit code."""
    began = time.monotonic()
    print(f"Starting Janroot ({', '.join(settings.services)}); logs in {settings.log_dir}", flush=True)
    settings.log_dir.mkdir(exist_ok=True)
    config = supervision.write_config(settings)
    manager = supervision.start(config, settings.environment(os.environ), dies_with_us=not detach)
    try:
        readiness.wait_until_ready(settings, lambda: manager.poll() is None, lambda line: print(line, flush=True))
        print(ready_message(settings, time.monotonic() - began, detach=detach), flush=True)
        if detach:
            return 0
        manager.wait()
    except StopRequested:
        print("\nStopping ...", flush=True)
        stop(settings, manager)
        print("Stopped.", flush=True)
        return 0
    except BaseException:
        stop(settings, manager)
        raise
    return after_the_manager(settings, manager.returncode)


def stop(settings: LocalSettings, manager: subprocess.Popen[bytes]) -> None:
    """End everything: gateway, inference, storage, Redis. A second Ctrl-C does not cut this short."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if manager.poll() is None:
        manager.send_signal(signal.SIGTERM)
        try:
            manager.wait(supervision.stop_seconds(settings))
        except subprocess.TimeoutExpired:
            manager.kill()
            manager.wait()
    processes.end(settings.run_dir, reversed(settings.services), supervision.LEFTOVER_SECONDS)


def after_the_manager(settings: LocalSettings, exit_code: int) -> int:
    """The manager ended by itself: because of `make down`, or because it was killed."""
    if exit_code == 0:
        print("Stopped.", flush=True)
        return 0
    processes.end(settings.run_dir, reversed(settings.services), supervision.LEFTOVER_SECONDS)
    print("janroot: the process manager was killed, so everything was stopped; start again.", file=sys.stderr)
    return 1


def ready_message(settings: LocalSettings, seconds: float, *, detach: bool) -> str:
    """Where it listens and how to stop it, a chat to paste, and the command for what is done in a terminal."""
    key = " -H 'Authorization: Bearer YOUR-KEY'" if os.environ.get("JANROOT_AUTH") == "keys" else ""
    how_to_stop = "`make down`" if detach else "Ctrl-C"
    body = f'{{"model": "{DEMO_MODEL}", "messages": [{{"role": "user", "content": "Say hello."}}]}}'
    return (
        f"Janroot is ready at {settings.url} after {seconds:.1f} s ({how_to_stop} stops it). Try it:\n"
        f"  curl -s {settings.url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'\n"
        "Import, export, back up and look after it with: .venv/bin/janroot --help"
    )


def _request_stop(number: int, frame: FrameType | None) -> None:
    raise StopRequested


if __name__ == "__main__":
    sys.exit(main())
