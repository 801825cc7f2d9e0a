"""The connection to a Windlass store that resources give to IO managers, ops, sensors and checks."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_windlass.errors import WindlassLaunchError
from windlass.sdk.session import Session
from windlass.sdk.settings import Settings as Overrides
from windlass.settings import Settings

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.metastore import MetadataStore
    from windlass.plugins.app import App

__all__ = ["WindlassClient", "client_of", "entity_and_project"]


class WindlassClient:
    """One store, seen from one entity and project. Opens the store when it is first needed.

    Args:
        settings: Of this connection.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._session = Session(settings)

    @classmethod
    def open(
        cls, *, api_key: str = "", host: str = "", entity: str = "", project: str = "", home: str = ""
    ) -> WindlassClient:
        """A client; what is empty comes from the environment (``WINDLASS_…``) and from ``windlass login``.

        Args:
            api_key: Key for a server.
            host: URL of a server or of another metadata store. Empty: an embedded store in the home.
            entity: Owner of artifacts and runs.
            project: Name space.
            home: Folder of local state.
        """
        overrides = Overrides(
            api_key=api_key or None,
            base_url=host or None,
            entity=entity or None,
            project=project or None,
            home=home or None,
        )
        return cls(overrides.resolve())

    def scoped(self, entity: str = "", project: str = "", cache_dir: Path | None = None) -> WindlassClient:
        """A client of the same store for another entity, project or cache."""
        changes: dict[str, Any] = {"entity": entity, "project": project, "cache_dir": cache_dir}
        return WindlassClient(self.settings.replace(**{k: v for k, v in changes.items() if v}))

    @property
    def entity(self) -> str:
        """Owner of artifacts and runs."""
        return self.settings.entity

    @property
    def project(self) -> str:
        """Name space of artifacts and runs."""
        return self.settings.project

    @property
    def host(self) -> str:
        """URL of the server; empty when the store is none."""
        url = self.settings.base_url
        return url.rstrip("/") if url.startswith("http") else ""

    @property
    def app(self) -> App:
        """Plugins."""
        return self._session.app

    @property
    def store(self) -> MetadataStore:
        """The metadata store."""
        return self._session.store

    @property
    def engine(self) -> ArtifactEngine:
        """The artifact engine."""
        return self._session.engine

    @cached_property
    def sdk(self) -> Any:
        """The package `windlass`."""
        import windlass

        return windlass

    @cached_property
    def api(self) -> Any:
        """A `windlass.Api` of the same store."""
        import windlass

        settings = self.settings
        return windlass.Api(
            windlass.Settings(
                entity=settings.entity,
                project=settings.project,
                base_url=settings.base_url or None,
                api_key=settings.api_key or None,
                home=settings.home,
            )
        )

    def artifact(self, path: str) -> Artifact:
        """A logged artifact by ``[[entity/]project/]name[:alias|:v3|@digest]``. Raises `ArtifactNotFoundError`."""
        return self.engine.get(path, entity=self.entity, project=self.project)

    def page(self, *parts: str) -> str:
        """Address of something on the server's pages; ``windlass://…`` when there is no server."""
        return "/".join((self.host or "windlass:/", *parts))

    def close(self) -> None:
        """Give back connections. May be repeated; the next use opens them again."""
        api = self.__dict__.pop("api", None)
        if api is not None:
            api.close()
        self._session.close()


def client_of(resources: Any) -> WindlassClient:
    """The client from the resources ``windlass_resource`` and ``windlass_config`` of an op.

    Raises:
        WindlassLaunchError: ``windlass_config`` has an empty entity or project.
    """
    given = resources.windlass_resource
    client: WindlassClient = given if isinstance(given, WindlassClient) else given.client()
    config = getattr(resources, "windlass_config", None)
    return client.scoped(*entity_and_project(config)) if config is not None else client


def entity_and_project(config: Any) -> tuple[str, str]:
    """Entity and project of a ``windlass_config`` resource. Raises `WindlassLaunchError` when one is empty."""
    found = []
    for key in ("entity", "project"):
        value = config.get(key, "") if isinstance(config, dict) else getattr(config, key, "")
        if not isinstance(value, str) or not value.strip():
            raise WindlassLaunchError(
                f"the resource windlass_config has no {key}",
                code="entity-missing",
                hint=f'Configure it: resources: {{windlass_config: {{config: {{{key}: "my_{key}"}}}}}}.',
            )
        found.append(value)
    return found[0], found[1]
