"""What a command works with: settings, plugins, store and engine, opened when first needed."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.metastore import MetadataStore
    from windlass.plugins.app import App
    from windlass.sdk.session import Session
    from windlass.settings import Settings

__all__ = ["State", "pass_state"]


_PATIENCE = 5.0


class State:
    """Shared by the commands of one call.

    Attributes:
        verbosity: How often ``-v`` was given.
        patient: Set before anything is opened: no person waits for this command, so that it may wait for a server.
    """

    patient = False

    def __init__(self, *, plugins: tuple[str, ...] = (), verbosity: int = 0) -> None:
        self._plugins = plugins
        self.verbosity = verbosity
        level = logging.WARNING if verbosity == 0 else logging.INFO if verbosity == 1 else logging.DEBUG
        logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")

    @cached_property
    def settings(self) -> Settings:
        """From the environment and what ``windlass login`` has kept."""
        from windlass.sdk import credentials
        from windlass.settings import Settings

        found = credentials.apply(Settings.from_env())
        if found.store_patience is None and not self.patient:
            found = found.replace(store_patience=_PATIENCE)
        return found

    @cached_property
    def app(self) -> App:
        """Plugins, those of ``--plugin`` included."""
        from windlass.plugins.app import App

        return App(self.settings, plugins=self._plugins)

    @cached_property
    def session(self) -> Session:
        """Opens store and engine."""
        from windlass.sdk.session import Session

        return Session(self.settings, self.app)

    @property
    def store(self) -> MetadataStore:
        """The metadata store."""
        return self.session.store

    @property
    def engine(self) -> ArtifactEngine:
        """The artifact engine."""
        return self.session.engine

    def close(self) -> None:
        """Close what was opened."""
        session = self.__dict__.pop("session", None)
        if session is not None:
            session.close()


pass_state = click.make_pass_decorator(State)
