"""Configuration of the oci registry."""

from __future__ import annotations

from attrs import frozen

from windlass.config.options import option

__all__ = ["OciConfig"]


@frozen(kw_only=True)
class OciConfig:
    """``registry: {type: oci, …}``."""

    uri: str = option(default="", help="Registry host or repository the credentials are for, e.g. ghcr.io/team.")
    username: str = option(default="", help="User name; without it the docker configuration is looked at.")
    password: str = option(default="", secret=True, help="Secret reference to the password or token: env/NAME …")
    docker_config: str = option(
        default="", key="docker-config", help="docker's config.json; DOCKER_CONFIG or ~/.docker by default."
    )
    insecure: tuple[str, ...] = option(
        default=(), help="Hosts (with port) that may be spoken to without TLS; loopback always may."
    )
    ca_file: str = option(default="", key="ca-file", help="PEM file with further certificate authorities.")
    timeout: float = option(default=30.0, minimum=0.1, help="Seconds to wait for an answer.")
