"""One entry of a logged artifact, as people use it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO

from windlass.errors import UsageError

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.artifacts.manifest import Entry

__all__ = ["ArtifactEntry"]


class ArtifactEntry:
    """A file, object or reference in a logged artifact."""

    def __init__(self, artifact: Artifact, entry: Entry, engine: ArtifactEngine) -> None:
        self._artifact = artifact
        self._entry = entry
        self._engine = engine

    def __repr__(self) -> str:
        return f"<ArtifactEntry {self.path} {self.size if self.size >= 0 else 'unknown'} bytes>"

    @property
    def path(self) -> str:
        """Path in the artifact."""
        return self._entry.path

    @property
    def name(self) -> str:
        """The same as `path`."""
        return self._entry.path

    @property
    def digest(self) -> str:
        """Digest of the content; for references what the store gave."""
        return self._entry.digest

    @property
    def size(self) -> int:
        """Bytes, -1 if not known."""
        return self._entry.size

    @property
    def ref(self) -> str:
        """URI of a reference, else empty."""
        return self._entry.ref

    @property
    def extra(self) -> dict[str, Any]:
        """Recorded facts about a reference or an object."""
        return dict(self._entry.extra or {})

    def ref_target(self) -> str:
        """URI of the reference. Raises `UsageError` for a stored entry."""
        if not self._entry.ref:
            raise UsageError(f"'{self.path}' is stored in the artifact, it is no reference")
        return self._entry.ref

    def download(self, root: str | os.PathLike[str] | None = None) -> str:
        """Write the entry to ``<root>/<path>`` and return that path. Every byte is verified."""
        folder = self._artifact.target(root)
        return self._engine.download_entry(self._entry, folder)

    def open(self) -> BinaryIO:
        """A seekable file that fetches what is read, without downloading the rest."""
        from windlass.artifacts.reader import EntryReader, buffered

        return buffered(EntryReader(self._entry, self._engine.blobs, self._engine.app.storage_for))

    def read_bytes(self) -> bytes:
        """The whole content, verified. For small entries."""
        return self._engine.read(self._entry)
