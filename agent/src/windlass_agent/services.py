"""What the parts of one agent share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field

from windlass.errors import StoreUnavailableError
from windlass_agent.absent import Absent
from windlass_agent.backends import Backends
from windlass_agent.claims import Claims, Held
from windlass_agent.config import AgentConfig
from windlass_agent.faults import Faults
from windlass_agent.gpus import GpuMeter
from windlass_agent.presence import Presence
from windlass_agent.slots import Slots

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.metastore import MetadataStore
    from windlass.plugins.app import App
    from windlass_agent.jobapi import JobAccess

__all__ = ["Services"]

_log = logging.getLogger(__name__)
T = TypeVar("T")


@define(kw_only=True)
class Services:
    """The store, the plugins and the state that all runs of an agent use.

    Attributes:
        patient: Runs wait for a backend that is away. Nobody sits in front of a queue; in front of a run here and now
            somebody does, who wants to be told at once.
        absent: Queues whose backends do not answer.
        crowded: Whether a run that waits for its backend keeps the agent from ending, or from runs of other queues.
        presence: What the agent says of itself.
        aborted: The agent ends at once; nothing may be waited for.
    """

    config: AgentConfig
    app: App
    store: MetadataStore
    engine: ArtifactEngine
    backends: Backends
    claims: Claims
    access: JobAccess
    slots: Slots
    host: str
    faults: Faults
    patient: bool = True
    absent: Absent
    crowded: Callable[[], bool]
    presence: Presence
    gpus: GpuMeter = field(factory=GpuMeter)
    aborted: threading.Event = field(factory=threading.Event)

    @property
    def work(self) -> Path:
        """Where each attempt has a directory."""
        return self.app.settings.home / "work"

    def insist(self, held: Held, call: Callable[[], T]) -> T:
        """Call the store, again and again while it is out of reach, as long as the claim may be ours.

        Raises:
            FencedError: It is known that the claim is lost.
            StoreUnavailableError: The agent was told to end at once.
        """
        wait = 0.05
        while True:
            held.check()
            try:
                return call()
            except StoreUnavailableError as error:
                if self.aborted.is_set():
                    raise
                _log.warning(
                    "%s: the store is out of reach, trying again in %.1f s: %s", held.run_id, wait, error.message
                )
            held.lost.wait(wait)
            wait = min(wait * 2, 2.0)
