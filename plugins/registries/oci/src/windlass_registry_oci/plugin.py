"""Plugin entry point of the oci registry."""

from __future__ import annotations

from collections.abc import Iterator

from windlass.plugins import Context, RegistryPlugin, hookimpl
from windlass.registries import Registry, RegistryCapabilities
from windlass_registry_oci.config import OciConfig

__all__ = ["windlass_registries"]


def _create(config: OciConfig, context: Context) -> Registry:
    from windlass_registry_oci.registry import OciRegistry

    return OciRegistry(config, context.secrets, context.clock)


@hookimpl
def windlass_registries() -> Iterator[RegistryPlugin[OciConfig]]:
    """The oci registry."""
    yield RegistryPlugin(
        name="oci",
        summary="Any registry that speaks the OCI distribution protocol.",
        config=OciConfig,
        create=_create,
        capabilities=RegistryCapabilities(),
    )
