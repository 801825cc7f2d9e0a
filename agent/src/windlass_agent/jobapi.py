"""How jobs reach the Windlass API: straight to a server, or through a socket that this agent serves."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from windlass.errors import ConfigError
from windlass.runners import JobApi, Mount, RunnerCapabilities

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore
    from windlass.plugins.app import App
    from windlass_server.local import LocalApi

__all__ = ["JobAccess"]

MOUNT = "/run/windlass"
"""Where containers see the directory with the socket."""


class JobAccess:
    """Gives each job the URL under which it finds the API.

    A server's URL is passed on. Any other store (a file, a database) is served to jobs by the agent, so that they
    never open it themselves and a run token is all they hold.
    """

    def __init__(self, app: App, store: MetadataStore) -> None:
        self._url = app.settings.store_url
        self._local: LocalApi | None = None
        if urlsplit(self._url).scheme not in ("http", "https", "unix"):
            from windlass_server.local import LocalApi

            self._local = LocalApi(store, app, app.settings.home)
            self._url = self._local.url

    def start(self) -> None:
        """Serve, where that is needed."""
        if self._local is not None:
            self._local.start()

    def close(self) -> None:
        """Serve no more."""
        if self._local is not None:
            self._local.close()

    def for_job(self, capabilities: RunnerCapabilities, token: str) -> tuple[JobApi, tuple[Mount, ...]]:
        """URL and token for a job, and the paths it must see."""
        if not self._url.startswith("unix://") or not capabilities.needs_image:
            return JobApi(url=self._url, token=token), ()
        if capabilities.local_mounts:
            folder, _, name = self._url.removeprefix("unix://").rpartition("/")
            return JobApi(url=f"unix://{MOUNT}/{name}", token=token), (Mount(source=folder, target=MOUNT),)
        raise ConfigError(
            "jobs of this runner cannot reach the metadata store, which is a file or database of the agent",
            where="WINDLASS_BASE_URL",
            hint="Run `windlass server` and set WINDLASS_BASE_URL=https://… for agent and submitters.",
        )
