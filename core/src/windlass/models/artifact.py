"""Artifact versions as the metadata store knows them.

What a get needs is here. What is committed is loaded from `windlass.models.commit`, and changes, filters, lineage and
contributions from `windlass.models.artifact_work`, when they are first used: making a class takes longer than looking
up a version.
"""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from windlass.models import JSON

if TYPE_CHECKING:
    from windlass.models.artifact_work import (
        ArtifactFilter,
        CollectionUpdate,
        DistributedPart,
        LineageEdge,
        ManifestRoot,
        VersionUpdate,
    )
    from windlass.models.commit import Committed, NewVersion

__all__ = [
    "ArtifactFilter",
    "ArtifactRef",
    "ArtifactVersion",
    "Collection",
    "CollectionUpdate",
    "Committed",
    "DistributedPart",
    "EdgeKind",
    "LineageEdge",
    "ManifestRoot",
    "NewVersion",
    "VersionUpdate",
]

_ELSEWHERE = {
    "ArtifactFilter": "artifact_work",
    "CollectionUpdate": "artifact_work",
    "Committed": "commit",
    "DistributedPart": "artifact_work",
    "LineageEdge": "artifact_work",
    "ManifestRoot": "artifact_work",
    "NewVersion": "commit",
    "VersionUpdate": "artifact_work",
}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"windlass.models.{_ELSEWHERE[name]}"), name)


class ArtifactRef(msgspec.Struct, frozen=True, kw_only=True):
    """Names an artifact: ``[[entity/]project/]name[:alias|:v3|@digest]``, with all parts filled in.

    Attributes:
        selector: An alias, ``v<N>`` or a digest ``<algorithm>:<hex>``. Default ``latest``.
    """

    entity: str
    project: str
    name: str
    selector: str = "latest"

    def __str__(self) -> str:
        mark = "@" if ":" in self.selector else ":"
        return f"{self.entity}/{self.project}/{self.name}{mark}{self.selector}"


class ArtifactVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version with its mutable labels.

    Attributes:
        id: Opaque, unique.
        version: Number within the collection, from 0; written ``v<N>``.
        digest: Digest of paths and entry digests, ``<algorithm>:<hex>``.
        manifest: Digest of the blob that holds the manifest.
        size: Sum of the entries' sizes in bytes, references included; -1 when that of one is not known.
        entries: Number of entries.
        aliases: ``latest`` and chosen ones; ``v<N>`` is not listed.
        ttl_seconds: Life time from creation; None is for ever.
        run: Id of the run that logged it, or empty.
        deleted_at: Seconds since the epoch when it was deleted, else 0.0. It can be restored until purged.
        signatures: Detached signatures over the artifact digest, as JSON documents.
        origins: Other entities that content of it was taken over from, by a link or a draft.
    """

    id: str
    entity: str
    project: str
    name: str
    type: str
    version: int
    digest: str
    manifest: str
    size: int = 0
    entries: int = 0
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str = ""
    metadata: dict[str, JSON] = {}
    ttl_seconds: float | None = None
    run: str = ""
    signatures: tuple[JSON, ...] = ()
    created_at: float = 0.0
    updated_at: float = 0.0
    deleted_at: float = 0.0
    origins: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """``entity/project/name:v<N>``."""
        return f"{self.entity}/{self.project}/{self.name}:v{self.version}"


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """All versions of one name.

    Attributes:
        versions: How many there are (deleted ones not counted).
        latest: Version number that ``latest`` points at, -1 if none.
        protected_aliases: Aliases that only owners may move, and whose versions cannot be deleted.
    """

    entity: str
    project: str
    name: str
    type: str
    description: str = ""
    tags: tuple[str, ...] = ()
    protected_aliases: tuple[str, ...] = ()
    versions: int = 0
    latest: int = -1
    created_at: float = 0.0
    updated_at: float = 0.0


class EdgeKind(StrEnum):
    """Direction of a lineage edge, seen from the run."""

    INPUT = "input"
    OUTPUT = "output"
