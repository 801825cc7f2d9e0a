"""What makes an artifact version, and the answer. Import the names from `windlass.models.artifact`."""

from __future__ import annotations

import msgspec

from windlass.models import JSON
from windlass.models.artifact import ArtifactVersion


class NewVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version to be committed. Its blobs and its manifest are stored and verified already.

    Attributes:
        upload: Id of the upload session that protects the blobs from garbage collection.
        attempt: Attempt of the run that logs it; a superseded attempt is refused. None: not a launched run.
        ttl_seconds: Life time from now on. One that has the content already lives at least so long.
        origins: See `ArtifactVersion`.
        base: Id of the version that ``latest`` must still name, empty for none. None: any.
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
    metadata: dict[str, JSON] = {}
    ttl_seconds: float | None = None
    run: str = ""
    attempt: int | None = None
    upload: str = ""
    signatures: tuple[JSON, ...] = ()
    origins: tuple[str, ...] = ()
    base: str | None = None

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
            origins=tuple(sorted(set(self.origins) - {self.entity})),
            created_at=now,
            updated_at=now,
        )


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a commit.

    Attributes:
        created: False when the collection already had a version with this digest, which is returned instead.
    """

    version: ArtifactVersion
    created: bool
