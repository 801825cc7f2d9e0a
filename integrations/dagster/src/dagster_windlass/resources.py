"""Resources: the connection to a Windlass store."""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from dagster_windlass.client import WindlassClient

__all__ = ["WindlassConfig", "WindlassResource", "windlass_resource"]


class WindlassResource(dg.ConfigurableResource[Any]):
    """The connection to a Windlass store; every field may be a `dagster.EnvVar`.

    What is left empty comes from the environment (``WINDLASS_API_KEY``, ``WINDLASS_BASE_URL``, ``WINDLASS_ENTITY``,
    ``WINDLASS_PROJECT``, ``WINDLASS_HOME``).

    Example::

        WindlassResource(host=dg.EnvVar("WINDLASS_BASE_URL"), api_key=dg.EnvVar("WINDLASS_API_KEY"), entity="team")
    """

    api_key: str = Field(default="", description="Key for a server.")
    host: str = Field(
        default="", description="URL of a server or another metadata store. Default: an embedded store in the home."
    )
    entity: str = Field(default="", description="Owner of artifacts and runs.")
    project: str = Field(default="", description="Name space of artifacts and runs.")
    home: str = Field(default="", description="Folder of local state.")

    _client: WindlassClient | None = PrivateAttr(default=None)

    def client(self) -> WindlassClient:
        """The store. Opened when it is first needed, closed with the resource."""
        if self._client is None:
            self._client = WindlassClient.open(
                api_key=self.api_key, host=self.host, entity=self.entity, project=self.project, home=self.home
            )
        return self._client

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Called by Dagster."""
        if self._client is not None:
            self._client.close()


class WindlassConfig(dg.ConfigurableResource[Any]):
    """Entity and project for the key ``windlass_config``, which launch ops and the older IO manager ask for."""

    entity: str = Field(description="Owner of artifacts and runs.")
    project: str = Field(description="Name space.")


@dg.resource(
    config_schema={
        "api_key": dg.Field(dg.StringSource, is_required=False, description="Key for a server."),
        "host": dg.Field(
            dg.StringSource,
            is_required=False,
            description="URL of a server or another metadata store. Default: an embedded store.",
        ),
    }
)
def windlass_resource(context: dg.InitResourceContext) -> Any:
    """The connection in Dagster's older form; entity and project come from the resource `windlass_config`."""
    config = context.resource_config or {}
    client = WindlassClient.open(api_key=config.get("api_key", ""), host=config.get("host", ""))
    try:
        yield client
    finally:
        client.close()
