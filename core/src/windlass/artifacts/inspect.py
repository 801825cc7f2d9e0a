"""What the pickles in a logged artifact would do."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO, cast

from windlass.trust.scan import ScannedPickle, ScanReport, report_of, scan_file

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.engine import ArtifactEngine

__all__ = ["scan_artifact"]


def scan_artifact(engine: ArtifactEngine, artifact: Artifact, *, allow: tuple[str, ...] = ()) -> ScanReport:
    """Scan all entries, one at a time, with what their records say of the serializer. Nothing is imported or called.

    Args:
        engine: Reads the entries, verified.
        artifact: A logged artifact.
        allow: Names to allow beside the scanner's list.
    """
    found: list[ScannedPickle] = []
    count = 0
    for entry in artifact.manifest:
        record = (entry.extra or {}).get("object")
        serializer = str(record.get("serializer") or "") if isinstance(record, Mapping) else ""
        with tempfile.TemporaryFile(prefix="windlass-", dir=engine.temporary()) as file:
            engine.copy(entry, file.fileno())
            file.seek(0)
            found += scan_file(cast("BinaryIO", file), entry.path, serializer=serializer, allow=allow)
        count += 1
    return report_of(artifact.path, found, files=count)
