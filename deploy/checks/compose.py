"""Build the images, bring the containers up, talk to them, look at what they show, take them down.

`make compose-check`. A project, a janroot and a port of its own, so a Janroot that runs already is not touched.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import OpenAIError

from deploy.checks import talk
from deploy.checks.talk import expect, wait_for
from deploy.local.settings import ROOT

PROJECT = "janroot-check"
LONG_RUNNING = {"redis", "storage", "inference", "gateway"}
READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Compose:
    """The compose file as a project of its own."""

    command: list[str]
    environment: dict[str, str]

    def run(self, *words: str) -> None:
        """Run a compose command and show what it says. Raises CalledProcessError."""
        subprocess.run([*self.command, *words], cwd=ROOT, env=self.environment, check=True)

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine knows about each container, by the name of its service."""
        listed = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
        inspected = json.loads(docker("inspect", *listed))
        return {container["Config"]["Labels"]["com.docker.compose.service"]: container for container in inspected}


def docker(*words: str) -> str:
    """What a docker command prints."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout


def compose_command() -> list[str]:
    """`docker compose`, or the older `docker-compose`. Raises CheckFailedError: neither is here."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    expect(shutil.which("docker-compose") is not None, "Neither `docker compose` nor `docker-compose` is installed.")
    return ["docker-compose"]


def main() -> int:
    """Run the check; returns 0 when everything was as expected, else 1 after a sentence and the containers' logs."""
    with tempfile.TemporaryDirectory(prefix="janroot-") as folder:
        port = talk.free_port()
        settings = {"JANROOT_PATH": f"{folder}/janroot", "JANROOT_PORT": str(port)}
        if os.getuid() != 0:  # the files must be ours to remove
            settings |= {"JANROOT_UID": str(os.getuid()), "JANROOT_GID": str(os.getgid())}
        try:
            compose = Compose([*compose_command(), "-p", PROJECT], {**os.environ, **settings})
        except talk.CheckFailedError as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
        try:
            check(compose, f"http://127.0.0.1:{port}", Path(folder) / "janroot")
        except (talk.CheckFailedError, OpenAIError, subprocess.SubprocessError) as error:
            print(f"FAILED: {error}", file=sys.stderr)
            compose.run("logs", "--no-color", "--tail", "40")
            return 1
        finally:
            compose.run("down", "--volumes", "--timeout", "40")
    return 0


def check(compose: Compose, url: str, janroot: Path) -> None:
    """Bring it up, ask one streamed question and one run, and look at ports, users, health and files."""
    compose.run("-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml", "config", "--quiet")
    compose.run("build")
    compose.run("up", "-d")
    seconds = wait_for(lambda: talk.is_ready(url), READY_SECONDS, "The gateway did not become ready.")
    print(f"ready {seconds:.1f} s after `up -d`")
    openai = talk.client(url)
    talk.stream_a_chat(openai)
    thread_id = talk.run_a_thread(openai)
    print("a streamed chat and a run were answered")
    expect((janroot / "threads" / thread_id / "messages.jsonl").is_file(), "The conversation is not in the janroot.")
    wait_for(lambda: all_healthy(compose), READY_SECONDS, "Not every container became healthy.")
    expect_closed(compose.containers())
    print("healthy, nobody runs as root, and nothing but the gateway is published")


def all_healthy(compose: Compose) -> bool:
    """Whether each container that stays up passes its own health check."""
    containers = compose.containers()
    return all(containers[service]["State"]["Health"]["Status"] == "healthy" for service in LONG_RUNNING)


def expect_closed(containers: dict[str, dict[str, Any]]) -> None:
    """Only the gateway publishes a port, on loopback; nobody that stays up runs as root."""
    for service, container in containers.items():
        published = {
            binding["HostIp"]
            for bindings in container["NetworkSettings"]["Ports"].values()
            for binding in bindings or ()
        }
        expect(published == ({"127.0.0.1"} if service == "gateway" else set()), f"{service} publishes {published}.")
        user = container["Config"]["User"].split(":")[0]
        expect(service not in LONG_RUNNING or user not in {"", "0", "root"}, f"{service} runs as root.")


if __name__ == "__main__":
    sys.exit(main())
