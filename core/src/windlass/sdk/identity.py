"""Who a run is: its names and labels."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from windlass.errors import UsageError
from windlass.sdk.values import label, labels

if TYPE_CHECKING:
    from windlass.models.run import Run as RunRecord
    from windlass.sdk.session import Session

__all__ = ["RunIdentity", "check_run_name"]


def check_run_name(name: str | None) -> None:
    """Raise `UsageError` when a run cannot be called so."""
    from windlass.launch.names import run_name_problem

    if problem := run_name_problem(label(name, "name"), "name"):
        raise UsageError(problem.message, where=problem.where, hint=problem.hint)


class RunIdentity(ABC):
    """The part of a run that says which one it is."""

    _record: RunRecord
    _session: Session | None

    @abstractmethod
    def _change(self, **changes: Any) -> None:
        """Record a change."""

    @property
    def id(self) -> str:
        """Unique id."""
        return self._record.id

    @property
    def name(self) -> str:
        """Display name."""
        return self._record.name

    @name.setter
    def name(self, value: str) -> None:
        check_run_name(value)
        value = value or self.id
        self._record = evolve(self._record, name=value)
        self._change(name=value)

    @property
    def entity(self) -> str:
        """Owner."""
        return self._record.entity

    @property
    def project(self) -> str:
        """Name space."""
        return self._record.project

    @property
    def path(self) -> str:
        """``entity/project/id``."""
        return f"{self.entity}/{self.project}/{self.id}"

    @property
    def url(self) -> str:
        """Page of the run on the server; empty when the store is no server."""
        base = self._session.settings.base_url if self._session else ""
        return f"{base.rstrip('/')}/{self.path}" if base.startswith("http") else ""

    @property
    def job(self) -> str:
        """Path of the job it was launched from, or that was made from it; empty if there is none."""
        return self._record.job

    def adopt_job(self, path: str) -> None:
        """Record the job that was made from this run."""
        self._record = evolve(self._record, job=path)
        self._change(job=path)

    @property
    def checkpoint_dir(self) -> Path | None:
        """Directory that all attempts of a launched run share; what one saves there the next one finds.

        None where nothing is kept between attempts (``WINDLASS_CHECKPOINT_DIR`` is not set).
        """
        found = os.environ.get("WINDLASS_CHECKPOINT_DIR")
        return Path(found) if found else None

    @property
    def group(self) -> str:
        """Group it belongs to."""
        return self._record.group

    @property
    def job_type(self) -> str:
        """What kind of work it does."""
        return self._record.job_type

    @property
    def tags(self) -> tuple[str, ...]:
        """Labels."""
        return self._record.tags

    @tags.setter
    def tags(self, value: str | Iterable[str] | None) -> None:
        self._record = evolve(self._record, tags=labels(value, "tags"))
        self._change(tags=self._record.tags)

    @property
    def notes(self) -> str:
        """Free text."""
        return self._record.notes

    @notes.setter
    def notes(self, value: str | None) -> None:
        self._record = evolve(self._record, notes=label(value, "notes"))
        self._change(notes=value)
