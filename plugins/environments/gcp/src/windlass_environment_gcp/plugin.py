"""The environment ``gcp``."""

from __future__ import annotations

from collections.abc import Iterator

from windlass.environments import Environment, EnvironmentCapabilities
from windlass.plugins import EnvironmentPlugin, hookimpl
from windlass.plugins.types import Context
from windlass_environment_gcp.config import GcpConfig


def _create(config: GcpConfig, context: Context) -> Environment:
    from windlass_environment_gcp.environment import GcpEnvironment

    return GcpEnvironment(config, context)


@hookimpl
def windlass_environments() -> Iterator[EnvironmentPlugin[GcpConfig]]:
    """Yield the environment."""
    yield EnvironmentPlugin(
        name="gcp",
        summary="A Google Cloud project: Application Default Credentials, workload identity included.",
        config=GcpConfig,
        create=_create,
        capabilities=EnvironmentCapabilities(gcp=True),
    )
