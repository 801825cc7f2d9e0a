"""What a run and the `Api` work with: settings, plugins, the metadata store and the artifact engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from windlass.errors import StoreUnavailableError
from windlass.plugins.app import App
from windlass.settings import Settings

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.metastore import MetadataStore
    from windlass.models.artifact import ArtifactVersion

T = TypeVar("T")

__all__ = ["PATIENCE", "Session", "patiently"]

PATIENCE = 60.0
"""Seconds for which what goes on without it bears with a store that is out of reach."""


class Session:
    """Opens what is needed when it is needed.

    Attributes:
        settings: Of this process, overrides included.
        app: Plugins.
    """

    def __init__(self, settings: Settings, app: App | None = None) -> None:
        self.settings = settings
        self.app = app or App(settings)

    @cached_property
    def store(self) -> MetadataStore:
        """The metadata store."""
        return self.app.open_store(self.settings.store_url)

    @cached_property
    def engine(self) -> ArtifactEngine:
        """The artifact engine over that store."""
        from windlass.artifacts.engine import ArtifactEngine

        return ArtifactEngine(self.app, self.store, self.settings)

    def versions_of(self, run: str, kind: str) -> tuple[ArtifactVersion, ...]:
        """Versions that a run has logged (``output``) or used (``input``)."""
        from windlass.models.artifact import EdgeKind

        edges = self.store.artifacts.edges(run_id=run, kind=EdgeKind(kind))
        return tuple(self.store.artifacts.get_by_id(edge.version) for edge in edges)

    def close(self) -> None:
        """Close what was opened. May be repeated."""
        store = self.__dict__.pop("store", None)
        self.__dict__.pop("engine", None)
        if store is not None:
            store.close()
        self.app.close()


def patiently(call: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Call again with growing pauses while the store is out of reach, for at most so many seconds."""
    deadline = time.monotonic() + seconds
    delay = 0.1
    while True:
        try:
            return call()
        except StoreUnavailableError:
            if time.monotonic() + delay > deadline:
                raise
        time.sleep(delay)
        delay = min(delay * 2, 5.0)
