"""Events: something happened, and plugins of the group ``windlass.hooks`` may care. One frozen value each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from windlass.models.artifact import ArtifactVersion
    from windlass.models.run import Run
    from windlass.plugins.catalog import HookCatalog

__all__ = ["ArtifactCommitted", "ImageBuilt", "RunChanged", "RunFinished", "RunSubmitted", "fire"]


class RunSubmitted(msgspec.Struct, frozen=True, kw_only=True):
    """A launch request was put on a queue, or a run was started here and now."""

    run: Run


class RunChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A run has another state or phase; `before` is how it was."""

    run: Run
    before: Run


class RunFinished(msgspec.Struct, frozen=True, kw_only=True):
    """A run is over."""

    run: Run


class ImageBuilt(msgspec.Struct, frozen=True, kw_only=True):
    """An image for a run is ready; `reused` tells that it was there already."""

    run: Run
    image: str
    digest: str
    reused: bool
    seconds: float


class ArtifactCommitted(msgspec.Struct, frozen=True, kw_only=True):
    """A new artifact version is visible."""

    version: ArtifactVersion


Event = RunSubmitted | RunChanged | RunFinished | ImageBuilt | ArtifactCommitted

_HOOKS = {
    RunSubmitted: "windlass_run_submitted",
    RunChanged: "windlass_run_changed",
    RunFinished: "windlass_run_finished",
    ImageBuilt: "windlass_image_built",
    ArtifactCommitted: "windlass_artifact_committed",
}


def fire(hooks: HookCatalog, event: Event) -> None:
    """Call every implementation of the event's hook. An exception is logged with its distribution, never raised."""
    name = _HOOKS[type(event)]
    for info, call in hooks.implementations(name):
        try:
            call(event)
        except (Exception, SystemExit):
            import logging

            logging.getLogger(__name__).exception(
                "event hook %s of %s failed; this is a bug there, the event is ignored", name, info
            )
