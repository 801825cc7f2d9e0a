"""Artifact versions as the metadata store knows them."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from windlass.models.reason import JSON


@frozen(kw_only=True)
class ArtifactRef:
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


@frozen(kw_only=True)
class ArtifactVersion:
    """One immutable version with its mutable labels.

    Attributes:
        id: Opaque, unique.
        version: Number within the collection, from 0; written ``v<N>``.
        digest: Digest of paths and entry digests, ``<algorithm>:<hex>``.
        manifest: Digest of the blob that holds the manifest.
        size: Sum of the entries' sizes in bytes (references included when known).
        entries: Number of entries.
        aliases: ``latest`` and chosen ones; ``v<N>`` is not listed.
        ttl_seconds: Life time from creation; None is for ever.
        run: Id of the run that logged it, or empty.
        deleted_at: Seconds since the epoch when it was deleted, else 0.0. It can be restored until purged.
        signatures: Detached signatures over the artifact digest, as JSON documents.
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
    metadata: dict[str, JSON] = field(factory=dict)
    ttl_seconds: float | None = None
    run: str = ""
    signatures: tuple[JSON, ...] = ()
    created_at: float = 0.0
    updated_at: float = 0.0
    deleted_at: float = 0.0

    @property
    def path(self) -> str:
        """``entity/project/name:v<N>``."""
        return f"{self.entity}/{self.project}/{self.name}:v{self.version}"


@frozen(kw_only=True)
class NewVersion:
    """A version to be committed. Its blobs and its manifest are stored and verified already.

    Attributes:
        upload: Id of the upload session that protects the blobs from garbage collection.
        attempt: Attempt of the run that logs it; a superseded attempt is refused. None: not a launched run.
    """

    entity: str
    project: str
    name: str
    type: str
    digest: str
    manifest: str
    size: int = 0
    entries: int = 0
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str = ""
    metadata: dict[str, JSON] = field(factory=dict)
    ttl_seconds: float | None = None
    run: str = ""
    attempt: int | None = None
    upload: str = ""
    signatures: tuple[JSON, ...] = ()

    def numbered(self, version_id: str, number: int, now: float) -> ArtifactVersion:
        """The version that this becomes. Aliases are set afterwards."""
        return ArtifactVersion(
            id=version_id,
            entity=self.entity,
            project=self.project,
            name=self.name,
            type=self.type,
            version=number,
            digest=self.digest,
            manifest=self.manifest,
            size=self.size,
            entries=self.entries,
            tags=tuple(dict.fromkeys(self.tags)),
            description=self.description,
            metadata=self.metadata,
            ttl_seconds=self.ttl_seconds,
            run=self.run,
            signatures=self.signatures,
            created_at=now,
            updated_at=now,
        )


@frozen(kw_only=True)
class Committed:
    """Answer to a commit.

    Attributes:
        created: False when the collection already had a version with this digest, which is returned instead.
    """

    version: ArtifactVersion
    created: bool


@frozen(kw_only=True)
class VersionUpdate:
    """Changes to the labels of a version. None leaves a field as it is.

    Attributes:
        ttl_seconds: A negative number removes the limit.
    """

    add_aliases: tuple[str, ...] = ()
    remove_aliases: tuple[str, ...] = ()
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: dict[str, JSON] | None = None
    ttl_seconds: float | None = None
    add_signatures: tuple[JSON, ...] = ()


@frozen(kw_only=True)
class Collection:
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


class EdgeKind(StrEnum):
    """Direction of a lineage edge, seen from the run."""

    INPUT = "input"
    OUTPUT = "output"


@frozen(kw_only=True)
class LineageEdge:
    """A run used or logged an artifact version."""

    kind: EdgeKind
    run: str
    version: str
    created_at: float = 0.0


@frozen(kw_only=True)
class DistributedPart:
    """One run's contribution to a version that several runs write together.

    Attributes:
        group: Name the runs agreed on (the run group by default).
        part: Who contributes; giving the same part again replaces it.
        manifest: Digest of the blob with this part's manifest.
    """

    entity: str
    project: str
    name: str
    type: str
    group: str
    part: str
    manifest: str


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
