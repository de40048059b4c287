"""What every service's process is given before it serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# What lives as long as the process is the collector's to look at only while nothing is served.
SERVES = """
import gc, os
from jan.service import run_service
from jan.settings import CommonSettings, Environment

async def serve(settings, stop):
    print("frozen" if gc.get_freeze_count() > 1000 else f"only {gc.get_freeze_count()}")

run_service("probe", lambda: CommonSettings.from_environment(Environment(os.environ)), lambda shared: shared, serve)
"""


def test_the_collector_does_not_look_at_what_lives_as_long_as_the_process(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": ":".join(sys.path), "JANROOT_RUN_DIR": str(tmp_path), "JANROOT_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SERVES], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "frozen"
