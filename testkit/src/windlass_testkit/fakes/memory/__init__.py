"""A complete metadata store in memory: what its interface says, in the plainest words. Slow is fine, wrong is not."""

from windlass_testkit.fakes.memory.store import MemoryConfig, MemoryMetadataStore
from windlass_testkit.fakes.memory.world import World

__all__ = ["MemoryConfig", "MemoryMetadataStore", "World"]
