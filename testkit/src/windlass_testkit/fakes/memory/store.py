"""The store object over a world."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option
from windlass.metastore import MetadataStore
from windlass.models.access import Principal
from windlass_testkit.fakes.faults import Faults, faulty
from windlass_testkit.fakes.memory.access import MemoryAccess
from windlass_testkit.fakes.memory.agents import MemoryAgents
from windlass_testkit.fakes.memory.artifacts import MemoryArtifacts
from windlass_testkit.fakes.memory.blobs import MemoryBlobs
from windlass_testkit.fakes.memory.queues import MemoryQueues
from windlass_testkit.fakes.memory.runs import MemoryRuns
from windlass_testkit.fakes.memory.schedule import MemorySchedule
from windlass_testkit.fakes.memory.world import World

__all__ = ["MemoryConfig", "MemoryMetadataStore"]


@frozen(kw_only=True)
class MemoryConfig:
    """Settings of the store in memory."""

    url: str = option(default="memory://", help="`memory://<name>`: the same store for the same name in one process.")


_worlds: dict[str, World] = {}


@faulty
class MemoryMetadataStore(MetadataStore):
    """A metadata store in memory.

    Args:
        world: What is stored; stores on the same world see each other's changes. A fresh one by default.

    Attributes:
        faults: Calls and faults of the store's own methods; each part has its own: ``store.queues.faults``.
    """

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.faults = Faults()
        self.runs = MemoryRuns(self.world, Faults())
        self.queues = MemoryQueues(self.world, Faults())
        self.agents = MemoryAgents(self.world, Faults())
        self.artifacts = MemoryArtifacts(self.world, Faults())
        self.access = MemoryAccess(self.world, Faults())
        self.schedule = MemorySchedule(self.world, Faults())
        self.blobs = MemoryBlobs(self.world, Faults())

    @classmethod
    def at(cls, url: str) -> MemoryMetadataStore:
        """The store of a URL ``memory://<name>``: the same world for the same name, within this process."""
        return cls(_worlds.setdefault(url, World()))

    def whoami(self) -> Principal:
        return Principal(kind="local")

    def now(self) -> float:
        return self.world.clock()

    def close(self) -> None:
        """Nothing to give back; the world stays."""
