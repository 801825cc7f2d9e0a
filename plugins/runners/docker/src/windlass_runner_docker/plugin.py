"""The plugin: run jobs as containers of a Docker engine."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.plugins import Context, RunnerPlugin, hookimpl
from windlass.runners import Runner, RunnerCapabilities
from windlass_runner_docker.config import DockerArgs, DockerConfig


def _create(config: DockerConfig, context: Context) -> Runner:
    from windlass_runner_docker.runner import DockerRunner

    return DockerRunner(config, context)


@hookimpl
def windlass_runners() -> Iterable[RunnerPlugin[DockerConfig]]:
    """Yield the docker runner."""
    yield RunnerPlugin(
        name="docker",
        summary="Containers of a Docker engine, with the options of docker run.",
        config=DockerConfig,
        create=_create,
        # Another machine's engine knows nothing of the container, so a run stays with this host's agents.
        capabilities=RunnerCapabilities(needs_image=True, host_bound=True, local_mounts=True, usage=True),
        resource_args=DockerArgs,
    )
