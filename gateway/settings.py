"""What the gateway is told by its environment; docs/operations.md describes each variable."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gateway.fetching.policy import DownloadPolicy
from gateway.queueing.weights import read_weights
from jan.queue.bounds import QueueBounds, Weights
from jan.settings import CommonSettings, Environment, SettingsError

AUTH_NONE = "none"
AUTH_KEYS = "keys"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The gateway's settings.

    host: the address that users reach. bind: the address to listen on, which differs in a container. admin_key: the
    first admin key; empty without authentication. trusted_hosts: further names that a `Host` header may bear.
    downloads: what may be fetched from other servers. hub_url: where Hugging Face repositories are. hub_token: what
    proves to that server, and to no other, who we are; empty for nothing.
    queue_bounds: how many requests may wait at once. weights: the tenants' shares of the queue.
    embedding_model: what embeds the chunks of vector stores; empty for one that has the setting, `none` for none.
    """

    common: CommonSettings
    host: str
    port: int
    bind: str
    auth: str
    admin_key: str
    trusted_hosts: frozenset[str]
    weights: Weights
    downloads: DownloadPolicy
    hub_url: str
    hub_token: str
    queue_bounds: QueueBounds
    embedding_model: str

    @classmethod
    def from_environment(cls, values: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises SettingsError: a value that cannot be used, or a server that strangers could reach without a key.
        """
        environment = Environment(values)
        host = environment.text("JANROOT_HOST", "127.0.0.1")
        admin_key = read_key(environment.text("JANROOT_ADMIN_KEY", ""))
        # Who sets a key means it to be needed.
        auth = environment.choice("JANROOT_AUTH", AUTH_KEYS if admin_key else AUTH_NONE, (AUTH_NONE, AUTH_KEYS))
        if auth == AUTH_NONE and not is_loopback(host):
            raise SettingsError(
                f"JANROOT_AUTH=none would let anybody who reaches {host} read every conversation; "
                "set JANROOT_AUTH=keys and JANROOT_ADMIN_KEY, or JANROOT_HOST=127.0.0.1."
            )
        if auth == AUTH_KEYS and not admin_key:
            raise SettingsError("JANROOT_AUTH=keys needs JANROOT_ADMIN_KEY: the first admin key, or a file holding it.")
        return cls(
            common=CommonSettings.from_environment(environment),
            host=host,
            port=environment.integer("JANROOT_PORT", 1337, 1, 65535),
            bind=environment.text("JANROOT_BIND", host),
            auth=auth,
            admin_key=admin_key,
            trusted_hosts=frozenset(
                name.strip().lower()
                for name in environment.text("JANROOT_TRUSTED_HOSTS", "").split(",")
                if name.strip()
            ),
            weights=read_weights(environment.text("JANROOT_QUEUE_WEIGHTS", "")),
            downloads=DownloadPolicy.from_environment(environment),
            hub_url=environment.text("HF_ENDPOINT", "https://huggingface.co").rstrip("/"),
            hub_token=read_key(environment.text("JANROOT_HF_TOKEN", ""), "JANROOT_HF_TOKEN"),
            queue_bounds=QueueBounds(
                of_tenant=environment.integer("JANROOT_MAX_QUEUED_PER_PERSON", 512, 0, 1_000_000),
                in_all=environment.integer("JANROOT_MAX_QUEUED", 4096, 0, 1_000_000),
            ),
            embedding_model=environment.text("JANROOT_EMBEDDING_MODEL", ""),
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_key(value: str, setting: str = "JANROOT_ADMIN_KEY") -> str:
    """The key itself, or what the file holds that the value names. Raises SettingsError: it cannot be read."""
    path = Path(value)
    if not value.startswith(("/", "./", "~")):
        return value
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{setting} names {value}, which cannot be read: {error.strerror}.") from None
