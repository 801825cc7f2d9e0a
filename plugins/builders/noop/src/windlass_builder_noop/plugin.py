"""Plugin entry point of the noop builder."""

from __future__ import annotations

from collections.abc import Iterator

from windlass.builders import Builder, BuilderCapabilities
from windlass.plugins import BuilderPlugin, Context, hookimpl
from windlass_builder_noop.config import NoopConfig

__all__ = ["windlass_builders"]


def _create(config: NoopConfig, context: Context) -> Builder:  # noqa: ARG001 - the contract says what it gets
    from windlass_builder_noop.builder import NoopBuilder

    return NoopBuilder()


@hookimpl
def windlass_builders() -> Iterator[BuilderPlugin[NoopConfig]]:
    """The noop builder."""
    yield BuilderPlugin(
        name="noop",
        summary="Never build: run prebuilt images only.",
        config=NoopConfig,
        create=_create,
        capabilities=BuilderCapabilities(builds=False, reproducible_tags=False),
    )
