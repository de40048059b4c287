"""Start a Janroot of its own with `make up`, talk to it, kill each of the four processes, stop it: `make up-check`.

It lies in a temporary folder and listens on a free port, so one that runs already is not touched.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from openai import OpenAIError

from deploy.checks import talk
from deploy.checks.talk import expect, wait_for
from deploy.local.settings import ROOT

SERVICES = ("redis", "storage_service", "inference_service", "gateway")
BACK_SECONDS = 20.0
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Janroot:
    """A Janroot below a temporary folder."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Where its gateway listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def run_dir(self) -> Path:
        """Its pid files, sockets and logs."""
        return self.folder / "run"

    def make(self, *words: str) -> list[str]:
        """A make command for this Janroot, settings on the line as a user would put them."""
        settings = [f"JANROOT_PATH={self.folder}/janroot", f"JANROOT_RUN_DIR={self.run_dir}"]
        return ["make", "-C", str(ROOT), *words, *settings, f"JANROOT_PORT={self.port}"]

    def pid(self, service: str) -> int | None:
        """The pid that a service's pid file holds, when that process lives."""
        try:
            pid = int((self.run_dir / f"{service}.pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        return pid if psutil.pid_exists(pid) else None

    def processes(self) -> list[str]:
        """Every living process that was started for this Janroot, engines included."""
        found = []
        for process in psutil.process_iter():
            try:
                words = [*process.cmdline(), *process.environ().values()]
            except psutil.Error:
                continue
            if any(f"{self.run_dir}/" in word for word in words) and process.pid != os.getpid():
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        return found


def main() -> int:
    """Run the check; returns 0 when everything happened as expected, else 1 after a sentence and the logs' ends."""
    with tempfile.TemporaryDirectory(prefix="janroot-") as folder:
        janroot = Janroot(Path(folder), talk.free_port())
        try:
            check_detached(janroot)
            check_ctrl_c(janroot)
        except (talk.CheckFailedError, OpenAIError, subprocess.SubprocessError) as error:
            print(f"FAILED: {error}", file=sys.stderr)
            print_logs(janroot)
            return 1
        finally:
            subprocess.run(janroot.make("down"), stdout=subprocess.DEVNULL, check=False)
    return 0


def check_detached(janroot: Janroot) -> None:
    """`make up DETACH=1` returns when ready, each process may be killed, `make down` leaves nothing."""
    openai = talk.client(janroot.url)
    seconds = start(janroot)
    talk.stream_a_chat(openai)
    talk.run_a_thread(openai)
    print(f"started in {seconds:.1f} s; a streamed chat and a run were answered")
    for service in SERVICES:
        seconds = kill_and_wait(janroot, service)
        talk.stream_a_chat(openai)
        talk.run_a_thread(openai)
        print(f"{service} was killed and back in {seconds:.1f} s; a streamed chat and a run were answered")
    stop(janroot)
    seconds = start(janroot)
    print(f"started again in {seconds:.1f} s")
    stop(janroot)


def check_ctrl_c(janroot: Janroot) -> None:
    """Ctrl-C, which reaches make and everything in its process group, ends a `make up` in the foreground."""
    foreground = subprocess.Popen(janroot.make("up"), start_new_session=True, stdout=subprocess.DEVNULL)
    wait_for(lambda: talk.is_ready(janroot.url), START_SECONDS, "`make up` did not become ready.")
    os.killpg(foreground.pid, signal.SIGINT)
    began = time.monotonic()
    foreground.wait(START_SECONDS)
    expect_nothing_left(janroot)
    print(f"Ctrl-C ended it in {time.monotonic() - began:.1f} s; nothing is left")


def start(janroot: Janroot) -> float:
    """Start detached and return how many seconds `make` took; it must be ready by then."""
    began = time.monotonic()
    subprocess.run(janroot.make("up", "DETACH=1"), stdout=subprocess.DEVNULL, timeout=START_SECONDS, check=True)
    seconds = time.monotonic() - began
    expect(talk.is_ready(janroot.url), "`make up DETACH=1` returned, but /readyz is not green.")
    return seconds


def stop(janroot: Janroot) -> None:
    """`make down` returns when everything is gone."""
    subprocess.run(janroot.make("down"), stdout=subprocess.DEVNULL, timeout=START_SECONDS, check=True)
    expect_nothing_left(janroot)


def kill_and_wait(janroot: Janroot, service: str) -> float:
    """Kill one service with SIGKILL; returns how many seconds passed until all was ready with a new process."""
    killed = janroot.pid(service)
    expect(killed is not None, f"{service} has no living process in its pid file.")
    assert killed is not None
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        return janroot.pid(service) not in {None, killed} and talk.is_ready(janroot.url)

    return wait_for(is_back, BACK_SECONDS, f"{service} was killed and did not come back.")


def expect_nothing_left(janroot: Janroot) -> None:
    """No process of this Janroot lives, and no pid file stands."""
    left = janroot.processes() + [path.name for path in janroot.run_dir.glob("*.pid")]
    expect(not left, f"Left behind: {'; '.join(left)}")


def print_logs(janroot: Janroot) -> None:
    """Print the end of each log, for whoever reads a failed check."""
    for log in sorted((janroot.run_dir / "logs").glob("*.log")):
        print(f"--- {log.name}", file=sys.stderr)
        print("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
