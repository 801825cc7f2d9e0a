"""Links: a version of one collection made a version of another, without its bytes.

A link is a version like any other: a number, aliases and labels of its own, the same content and digest. It therefore
stays when the version it came from is deleted, and garbage collection, protected aliases, triggers and deletion need to
know nothing of it. Signatures name a collection, so they are not taken over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from windlass.artifacts.names import parse_collection

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.engine import ArtifactEngine

__all__ = ["link"]


def link(
    engine: ArtifactEngine,
    artifact: Artifact,
    target: str,
    *,
    entity: str,
    project: str,
    run: str = "",
    attempt: int | None = None,
    aliases: Sequence[str] = (),
) -> Artifact:
    """Make a logged version a version of another collection, too; returns that version.

    Args:
        engine: Logs it.
        artifact: The version.
        target: The collection, ``[[entity/]project/]name``; it is made when there is none.
        entity: Default for `target`.
        project: Default for `target`.
        run: Run that links it: it has used the version, unless it made it, and made the link. Without one the link
            counts as an output of the run that made the version.
        attempt: Attempt of that run.
        aliases: In the other collection, beside ``latest``.

    Raises:
        UsageError: `target` is no collection, or one of another type.
        IntegrityError: The version was deleted and its bytes are collected.
    """
    source = artifact.info
    collection = parse_collection(target, entity=entity, project=project)
    made = type(artifact).internal(collection.name, source.type, source.description, source.metadata)
    made.draft = artifact.content()
    made.take_over(*artifact.origins)
    if run and not engine.store.artifacts.edges(run_id=run, version_id=source.id):
        engine.use(artifact, run, attempt)
    return engine.log(
        made,
        entity=collection.entity,
        project=collection.project,
        run=run or source.run,
        attempt=attempt,
        aliases=aliases,
    )
