"""A builder that refuses."""

from __future__ import annotations

from windlass.builders import Builder, BuildLog, BuildSpec, BuiltImage
from windlass.errors import UnsupportedError

__all__ = ["NoopBuilder"]


class NoopBuilder(Builder):
    """Builds nothing."""

    def build(self, spec: BuildSpec, log: BuildLog) -> BuiltImage:
        """Refuse. Raises `UnsupportedError`."""
        raise UnsupportedError(
            "this agent builds no images",
            where="$.builder.type",
            hint="Launch a prebuilt image, use a queue of the resource 'process', or set builder: {type: docker}.",
        )
