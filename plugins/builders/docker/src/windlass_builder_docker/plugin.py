"""Plugin entry point of the docker builder."""

from __future__ import annotations

from collections.abc import Iterator

from windlass.builders import Builder, BuilderCapabilities
from windlass.plugins import BuilderPlugin, Context, hookimpl
from windlass_builder_docker.config import DockerBuilderConfig

__all__ = ["windlass_builders"]


def _create(config: DockerBuilderConfig, context: Context) -> Builder:  # noqa: ARG001 - the contract says what it gets
    from windlass_builder_docker.builder import DockerBuilder

    return DockerBuilder(config)


@hookimpl
def windlass_builders() -> Iterator[BuilderPlugin[DockerBuilderConfig]]:
    """The docker builder."""
    yield BuilderPlugin(
        name="docker",
        summary="Build images with a Docker engine, through BuildKit where it is offered.",
        config=DockerBuilderConfig,
        create=_create,
        capabilities=BuilderCapabilities(),
    )
