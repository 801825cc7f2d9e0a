"""What is done with artifact versions: changes, filters, lineage, contributions of several runs, collection.

Import the names from `windlass.models.artifact`.
"""

from __future__ import annotations

from attrs import frozen

from windlass.models import JSON
from windlass.models.artifact import EdgeKind


@frozen(kw_only=True)
class VersionUpdate:
    """Changes to the labels of a version. None leaves a field as it is.

    Attributes:
        ttl_seconds: A negative number removes the limit.
        run: Id of the run that makes them, if one does: triggers that led to it do not start again.
    """

    add_aliases: tuple[str, ...] = ()
    remove_aliases: tuple[str, ...] = ()
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: dict[str, JSON] | None = None
    ttl_seconds: float | None = None
    add_signatures: tuple[JSON, ...] = ()
    run: str = ""


@frozen(kw_only=True)
class CollectionUpdate:
    """Changes to a collection. None leaves a field as it is."""

    description: str | None = None
    tags: tuple[str, ...] | None = None
    protected_aliases: tuple[str, ...] | None = None


@frozen(kw_only=True)
class ArtifactFilter:
    """Which versions to list; empty fields match all. Newest first.

    Attributes:
        tags: All of them must be present.
        deleted: True lists deleted versions only.
        before: Version id to go on behind, for paging.
    """

    entity: str = ""
    project: str = ""
    name: str = ""
    type: str = ""
    alias: str = ""
    tags: tuple[str, ...] = ()
    deleted: bool = False
    before: str = ""
    limit: int = 100


@frozen(kw_only=True)
class LineageEdge:
    """A run used or logged an artifact version.

    Attributes:
        version: Id of the version.
        collected: Path that the version had, when it was deleted and collected; else empty.
    """

    kind: EdgeKind
    run: str
    version: str
    created_at: float = 0.0
    collected: str = ""


@frozen(kw_only=True)
class DistributedPart:
    """One run's contribution to a version that several runs write together.

    Attributes:
        group: Name the runs agreed on (the run group by default).
        part: Who contributes; giving the same part again replaces it.
        manifest: Digest of the blob with this part's manifest.
        origins: See `ArtifactVersion`.
    """

    entity: str
    project: str
    name: str
    type: str
    group: str
    part: str
    manifest: str
    origins: tuple[str, ...] = ()


@frozen(kw_only=True)
class ManifestRoot:
    """A manifest that keeps its blobs alive.

    Attributes:
        version: Version id, or empty for a distributed part.
        deleted_at: 0.0, or when the version was deleted (within the undelete window it still counts).
    """

    manifest: str
    version: str = ""
    deleted_at: float = 0.0
