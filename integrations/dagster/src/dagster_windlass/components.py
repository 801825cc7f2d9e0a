"""Components for ``defs.yaml``: the store with its IO manager, external artifacts, and launched assets."""

from typing import Any

import dagster as dg
from pydantic import Field

from dagster_windlass.external import artifact_asset_spec, build_artifact_version_sensor
from dagster_windlass.io_manager import WindlassArtifactsIOManager
from dagster_windlass.launch.assets import launch_job_asset
from dagster_windlass.resources import WindlassResource

__all__ = ["ArtifactCollectionsComponent", "ArtifactStoreComponent", "LaunchJobComponent"]


class ArtifactStoreComponent(dg.Component, dg.Model, dg.Resolvable):
    """A Windlass store as the resources ``windlass`` and ``io_manager``.

    ``{env.NAME}`` in a value is read from the environment.
    """

    host: str = Field(default="", description="URL of a server. Default: an embedded store.")
    api_key: str = Field(default="", description="Key for the server.")
    entity: str = Field(default="", description="Owner of artifacts and runs.")
    project: str = Field(default="", description="Name space.")
    base_dir: str = Field(default="", description="Folder for the cache.")
    cache_duration_in_minutes: int | None = Field(default=None, ge=0, description="Default: 30 days.")
    run_tags: list[str] = Field(default=[], description="Tags of runs.")
    resource_key: str = Field(default="windlass", description="Key of the store.")
    io_manager_key: str = Field(default="io_manager", description="Key of the IO manager.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Called by Dagster."""
        store = WindlassResource(host=self.host, api_key=self.api_key, entity=self.entity, project=self.project)
        options: dict[str, Any] = {"base_dir": self.base_dir, "run_tags": self.run_tags}
        if self.cache_duration_in_minutes is not None:
            options["cache_duration_in_minutes"] = self.cache_duration_in_minutes
        manager = WindlassArtifactsIOManager(windlass=store, **options)
        return dg.Definitions(resources={self.resource_key: store, self.io_manager_key: manager})


class ExternalArtifact(dg.Model, dg.Resolvable):
    """One artifact that is made outside Dagster."""

    name: str = Field(description="[[entity/]project/]name.")
    key: str = Field(default="", description="Asset key, a/b. Default: the last part of the name.")
    alias: str = Field(default="", description="Version with this alias. Default: latest.")
    version: str = Field(default="", description="Always this version.")
    description: str = Field(default="", description="Shown with the asset.")
    group: str = Field(default="", description="Asset group.")
    sensor: bool = Field(default=False, description="Report new versions (or the moved alias) as materializations.")


class ArtifactCollectionsComponent(dg.Component, dg.Model, dg.Resolvable):
    """Artifacts that are made outside Dagster, as external assets, and sensors that follow them."""

    artifacts: list[ExternalArtifact] = Field(description="The artifacts.")
    resource_key: str = Field(default="windlass", description="Key of the store, for sensors.")
    io_manager_key: str = Field(default="io_manager", description="IO manager that loads them.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Called by Dagster."""
        specs = [
            artifact_asset_spec(
                one.name,
                version=one.version,
                alias=one.alias,
                key=one.key.split("/") if one.key else None,
                io_manager_key=self.io_manager_key,
                description=one.description or None,
                group_name=one.group or None,
            )
            for one in self.artifacts
        ]
        sensors = [
            build_artifact_version_sensor(one.name, asset_key=spec.key, alias=one.alias, resource_key=self.resource_key)
            for one, spec in zip(self.artifacts, specs, strict=True)
            if one.sensor
        ]
        return dg.Definitions(assets=specs, sensors=sensors)


class LaunchedAsset(dg.Model, dg.Resolvable):
    """An asset that the launched run makes."""

    key: str = Field(description="Asset key, a/b.")
    artifact: str = Field(default="", description="Name of the artifact the run logs. Default: from the key.")
    deps: list[str] = Field(default=[], description="Assets that must be there first.")
    group: str = Field(default="", description="Asset group.")
    kinds: list[str] = Field(default=[], description="Shown with the asset.")


class LaunchJobComponent(dg.Component, dg.Model, dg.Resolvable):
    """An asset whose compute is a launched run."""

    asset: LaunchedAsset = Field(description="What the run makes.")
    queue: str = Field(default="", description="Queue. Default: an agent in the step's process.")
    uri: str = Field(default="", description="Directory, script or git URI with the code.")
    job: str = Field(default="", description="Job artifact.")
    docker_image: str = Field(default="", description="Image to run.")
    argv: list[str] = Field(default=[], description="The command, in words.")
    run_config: dict[str, Any] = Field(default={}, description="Values laid over the run's config.")
    resource_args: dict[str, Any] = Field(default={}, description="In the resource's own words.")
    timeout: float | None = Field(default=None, description="Seconds to wait.")
    resource_key: str = Field(default="windlass", description="Key of the store.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Called by Dagster."""
        launch: dict[str, Any] = {
            "queue": self.queue,
            "uri": self.uri,
            "job": self.job,
            "docker_image": self.docker_image,
            "entry_point": self.argv,
            "run_config": self.run_config,
            "resource_args": self.resource_args,
            "timeout": self.timeout,
        }
        made = launch_job_asset(
            self.asset.key.split("/"),
            artifact=self.asset.artifact,
            deps=[dg.AssetKey(dep.split("/")) for dep in self.asset.deps],
            resource_key=self.resource_key,
            asset_options={
                "kinds": {"windlass", *self.asset.kinds},
                **({"group_name": self.asset.group} if self.asset.group else {}),
            },
            **{key: value for key, value in launch.items() if value not in ("", [], {}, None)},
        )
        return dg.Definitions(assets=[made])
