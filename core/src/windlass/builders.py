"""The builder interface: from a directory to a container image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from windlass.registries import Registry

__all__ = ["BuildLog", "BuildSpec", "Builder", "BuilderCapabilities", "BuiltImage"]


@frozen(kw_only=True)
class BuilderCapabilities:
    """What a builder can do.

    Attributes:
        builds: False for a builder that only refuses (``noop``).
        reproducible_tags: The same content gives the same tag, and an existing image is not built again.
        needs_push: The image can be run only from a registry, so a destination is required.
        platforms: Platforms it can build for; empty: the engine's own only.
    """

    builds: bool = True
    reproducible_tags: bool = True
    needs_push: bool = False
    platforms: tuple[str, ...] = ()


class BuildLog(Protocol):
    """Takes a build's output while it happens. Kept with the run, also when the build fails."""

    def write(self, data: bytes) -> None:
        """Take a piece of output, any bytes."""

    def phase(self, name: str) -> None:
        """The build entered ``building`` or ``pushing``."""


@frozen(kw_only=True)
class BuildSpec:
    """What to build.

    Attributes:
        run_id: The run it is for.
        context: Directory whose content is the build context. The builder does not change it.
        dockerfile: Path of the Dockerfile relative to `context`.
        name: Repository name when there is no destination (a valid image name without tag).
        destination: Repository to push to, without tag; empty: keep the image in the engine.
        platform: ``linux/amd64`` …; empty: the engine's own.
        build_args: Build arguments; part of the tag. Never secret.
        labels: Image labels; not part of the tag.
        registry: Answers what exists at `destination`, and has its credentials.
    """

    run_id: str
    context: str
    dockerfile: str = "Dockerfile"
    name: str = "windlass-job"
    destination: str = ""
    platform: str = ""
    build_args: Mapping[str, str] = field(factory=dict)
    labels: Mapping[str, str] = field(factory=dict)
    registry: Registry | None = field(default=None, eq=False)


@frozen(kw_only=True)
class BuiltImage:
    """The result of a build.

    Attributes:
        uri: Reference to run: ``repository:tag`` or ``repository@sha256:…``.
        digest: ``sha256:…`` of the pushed manifest, or the image id when nothing was pushed.
        reused: It existed already and nothing was built.
        platform: Platform it is for.
    """

    uri: str
    digest: str
    reused: bool = False
    platform: str = ""


class Builder(ABC):
    """Builds images. One instance serves many builds, from several threads."""

    @abstractmethod
    def build(self, spec: BuildSpec, log: BuildLog) -> BuiltImage:
        """Build the image, push it when there is a destination, and return it.

        Called by the agent in the phase ``building``. May be repeated: the tag is a hash of the full content
        (context files, Dockerfile, platform, base image digests, build arguments), so what exists is reused.

        Raises:
            BuildError: A step failed; `hint` quotes the end of the log. `retryable` for engine and network faults.
            RegistryError: The push was refused.
            UnsupportedError: This builder does not build.
        """

    def cancel(self, run_id: str) -> None:
        """End the build for that run soon; its `build` raises `BuildError`. Does nothing when none is under way.

        Called from another thread when the run was stopped or belongs to another agent. May be repeated. A builder
        that cannot end what it began does nothing: its next piece of output is refused, and that ends it then.
        """

    def check(self) -> None:
        """Find out whether builds would work (engine reachable …). Raises `WindlassError` with advice."""

    def close(self) -> None:
        """Give back connections. May be repeated."""
