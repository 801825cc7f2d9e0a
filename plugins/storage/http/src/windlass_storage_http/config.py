"""Configuration of the storage scheme ``http``."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class HostConfig:
    """How to sign in to one host."""

    headers: dict[str, Any] = option(
        factory=dict, help="Headers by name; values are texts or secret references such as {secret: env/TOKEN}."
    )


@frozen(kw_only=True)
class HttpConfig:
    """Hosts to sign in to, and limits."""

    hosts: dict[str, HostConfig] = option(
        factory=dict, help="Settings by host name, or host:port. They are never sent to another host."
    )
    timeout: float = option(default=60.0, minimum=0.1, help="Seconds to wait for an answer or for more bytes.")
    redirects: int = option(default=10, minimum=0, maximum=50, help="Most redirects that are followed.")
