"""Finding content that is stored already."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from windlass.artifacts.digest import short_form
from windlass.artifacts.manifest import Manifest, Part
from windlass.errors import ArtifactNotFoundError, IntegrityError
from windlass.models.artifact import ArtifactRef

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine

__all__ = ["Locator"]

_SEARCHES = 4
"""So many contents are searched for in the latest manifest; for more all of it is decoded and kept in memory."""


class Locator:
    """Finds content in the collection's latest version, so that it is stored once."""

    def __init__(self, engine: ArtifactEngine, ref: ArtifactRef) -> None:
        self._engine = engine
        self._ref = ref
        self._leaves: dict[int, int] | None = None  # where which content is, by short forms: there may be a million
        self._leaf: tuple[int, dict[str, tuple[Part, ...]]] = (-1, {})
        self._asked = 0
        self._there: dict[str, bool] = {}

    def __call__(self, digest: str, short: int) -> tuple[Part, ...] | None:
        """Where content with a digest lies; empty parts mean a whole blob, None that it is not stored.

        Args:
            digest: Digest of the content.
            short: Its short form.
        """
        if self._latest is None:
            return None
        try:
            parts = self._parts(self._latest, digest, short)
        except IntegrityError:  # a manifest that is damaged or lost must not keep anybody from storing
            self._latest = parts = None
        if parts is None or not all(self._is_there(part[0]) for part in parts or ((digest, 0, 0),)):
            return None
        return parts

    def may_know(self, shorts: Sequence[int]) -> bool:
        """False when none of the contents with these short forms is stored, as far as that can be told at once."""
        if self._latest is None:
            return False
        return self._leaves is None or not self._leaves.keys().isdisjoint(shorts)

    def _is_there(self, blob: str) -> bool:
        """Whether a blob was not lost; each is looked for once."""
        if blob not in self._there:
            self._there[blob] = not self._engine.blobs.missing((blob,))
        return self._there[blob]

    def _parts(self, latest: Manifest, digest: str, short: int) -> tuple[Part, ...] | None:
        self._asked += 1
        if self._asked <= _SEARCHES:
            found = latest.with_digest(digest)
            return found.parts if found is not None else None
        if self._leaves is None:
            self._leaves = {}
            for index in range(latest.leaves):
                self._leaves.update((short_form(found), index) for found in self._contents(latest, index))
        index = self._leaves.get(short, -1)
        return self._contents(latest, index).get(digest) if index >= 0 else None

    def _contents(self, latest: Manifest, index: int) -> dict[str, tuple[Part, ...]]:
        """The contents of a leaf and their places; the last leaf is kept, for paths are asked for in their order."""
        if self._leaf[0] != index:
            entries = latest.leaf(index)
            self._leaf = index, {entry.digest: entry.parts for entry in entries if not entry.ref}
        return self._leaf[1]

    @cached_property
    def _latest(self) -> Manifest | None:
        try:
            return self._engine.manifest(self._engine.store.artifacts.get(self._ref))
        except (ArtifactNotFoundError, IntegrityError):
            return None
