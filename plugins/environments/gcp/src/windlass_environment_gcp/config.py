"""Configuration of the environment ``gcp``."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class GcpConfig:
    """Which Google Cloud project and region. Credentials are Application Default Credentials."""

    region: str = option(pattern=r"[a-z0-9-]+", help="Region the agent works in, for example europe-west4.")
    project: str = option(pattern=r"[a-z0-9:.-]+", help="Project the agent works in.")
    impersonate: str = option(
        default="", pattern=r"\S+@\S+", help="Service account to act as; its tokens are renewed before they end."
    )
    scopes: tuple[str, ...] = option(
        default=("https://www.googleapis.com/auth/cloud-platform",), help="OAuth scopes to ask for."
    )
