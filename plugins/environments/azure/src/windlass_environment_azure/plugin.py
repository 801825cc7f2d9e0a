"""The environment ``azure``."""

from __future__ import annotations

from collections.abc import Iterator

from windlass.environments import Environment, EnvironmentCapabilities
from windlass.plugins import EnvironmentPlugin, hookimpl
from windlass.plugins.types import Context
from windlass_environment_azure.config import AzureConfig


def _create(config: AzureConfig, context: Context) -> Environment:
    from windlass_environment_azure.environment import AzureEnvironment

    return AzureEnvironment(config, context)


@hookimpl
def windlass_environments() -> Iterator[EnvironmentPlugin[AzureConfig]]:
    """Yield the environment."""
    yield EnvironmentPlugin(
        name="azure",
        summary="An Azure tenant: DefaultAzureCredential.",
        config=AzureConfig,
        create=_create,
        capabilities=EnvironmentCapabilities(azure=True),
    )
