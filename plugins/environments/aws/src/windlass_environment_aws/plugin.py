"""The environment ``aws``."""

from __future__ import annotations

from collections.abc import Iterator

from windlass.environments import Environment, EnvironmentCapabilities
from windlass.plugins import EnvironmentPlugin, hookimpl
from windlass.plugins.types import Context
from windlass_environment_aws.config import AwsConfig


def _create(config: AwsConfig, context: Context) -> Environment:
    from windlass_environment_aws.environment import AwsEnvironment

    return AwsEnvironment(config, context)


@hookimpl
def windlass_environments() -> Iterator[EnvironmentPlugin[AwsConfig]]:
    """Yield the environment."""
    yield EnvironmentPlugin(
        name="aws",
        summary="An AWS account: boto3's default credentials, or a role that is assumed.",
        config=AwsConfig,
        create=_create,
        capabilities=EnvironmentCapabilities(aws=True),
    )
