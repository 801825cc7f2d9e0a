from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.digest import digest_of
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.gc import GcReport, collect_garbage
from windlass.errors import IntegrityError
from windlass.models.artifact import NewVersion


def put(engine: ArtifactEngine, name: str, content: bytes) -> Artifact:
    artifact = Artifact(name, "t")
    with artifact.new_file("f", "wb") as file:
        file.write(content)
    return engine.log(artifact)


def collect(engine: ArtifactEngine, **kwargs: float) -> GcReport:
    return collect_garbage(engine.store, **{"grace": -1, "undelete": -1, "wait": 0.1, **kwargs})  # type: ignore[arg-type]


def test_live_blobs_stay(engine: ArtifactEngine, logged: Artifact, tmp_path: Path) -> None:
    before = {blob.digest for blob in engine.blobs.list()}
    report = collect(engine)
    assert report.freed_blobs == 0
    assert report.live_blobs == len(before)
    assert {blob.digest for blob in engine.blobs.list()} == before
    logged.download(tmp_path / "out")


def test_deleted_versions_go_after_the_window(engine: ArtifactEngine) -> None:
    keep, drop = put(engine, "keep", b"k" * 1000), put(engine, "drop", b"d" * 1000)
    drop.delete()
    dry = collect_garbage(engine.store, dry_run=True, grace=-1, undelete=-1)
    assert (dry.dry_run, dry.versions_purged, dry.freed_blobs) == (True, 1, 2)
    assert collect(engine, undelete=3600).freed_blobs == 0
    engine.store.artifacts.restore(drop.id)
    assert collect(engine).freed_blobs == 0
    drop.delete()
    report = collect(engine)
    assert (report.versions_purged, report.freed_blobs) == (1, 2)
    assert report.freed_bytes >= 1000
    assert keep.get_entry("f").read_bytes() == b"k" * 1000


def test_a_dry_run_counts_versions_out_of_their_life_time(engine: ArtifactEngine) -> None:
    short, shared = put(engine, "short", b"s" * 1000), put(engine, "shared", b"x" * 1000)
    put(engine, "again", b"x" * 1000)
    for version in (short, shared):
        version.ttl_seconds = 0.01
        version.save()
    time.sleep(0.05)
    dry = collect_garbage(engine.store, dry_run=True, grace=-1, undelete=0)
    real = collect_garbage(engine.store, grace=-1, undelete=0)
    assert (dry.versions_purged, dry.freed_blobs) == (real.versions_purged, real.freed_blobs) == (2, 2)
    assert dry.freed_bytes == real.freed_bytes


def test_young_blobs_are_spared(engine: ArtifactEngine) -> None:
    put(engine, "a", b"a").delete()
    report = collect(engine, grace=3600)
    assert (report.freed_blobs, report.young_blobs) == (0, 2)


def test_blobs_of_an_upload_are_spared(engine: ArtifactEngine) -> None:
    upload = engine.store.artifacts.begin_upload("test")
    engine.blobs.put(digest_of(b"new"), b"new")
    assert collect(engine).young_blobs == 1
    engine.store.artifacts.end_upload(upload)
    assert collect(engine).freed_blobs == 1


def test_an_upload_that_counts_on_a_dying_blob(engine: ArtifactEngine) -> None:
    """It saw the blob before it was retired, and commits while the collection waits."""
    old = put(engine, "old", b"shared" * 1000)
    old.delete()
    engine.store.artifacts.purge(engine.store.now() + 1)
    manifest = old.info.manifest
    upload = engine.store.artifacts.begin_upload("test")
    assert not engine.blobs.missing([old.manifest["f"].digest])
    engine.blobs.retire([old.manifest["f"].digest, manifest])
    assert engine.blobs.missing([manifest]) == {manifest}  # from now on others store it anew
    report = collect(engine)
    assert (report.pending_blobs, report.freed_blobs) == (2, 0)
    info = old.info
    new = NewVersion(
        entity=info.entity,
        project=info.project,
        name="new",
        type="t",
        digest=info.digest,
        manifest=manifest,
        upload=upload,
    )
    committed = engine.store.artifacts.commit(new)
    engine.store.artifacts.end_upload(upload)
    report = collect(engine)
    assert (report.restored_blobs, report.freed_blobs) == (2, 0)
    assert engine.wrap(committed.version).get_entry("f").read_bytes() == b"shared" * 1000
    assert not engine.blobs.missing([manifest])


def test_a_damaged_manifest_stops_the_collection(engine: ArtifactEngine) -> None:
    kept = put(engine, "a", b"a")
    put(engine, "b", b"b").delete()
    path = Path(engine.blobs.local_path(kept.info.manifest) or "")
    path.chmod(0o644)
    path.write_bytes(b"damage")
    before = len(list(engine.blobs.list()))
    with pytest.raises(IntegrityError):
        collect(engine)
    assert len(list(engine.blobs.list())) == before


def test_uploads_and_collections_side_by_side(engine: ArtifactEngine) -> None:
    over = threading.Event()
    errors: list[BaseException] = []

    def sweep() -> None:
        while not over.is_set():
            try:
                collect(engine, wait=0.5)
            except BaseException as error:
                errors.append(error)

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        for index in range(25):
            artifact = put(engine, "busy", b"%d" % (index % 3) * 5000)
            assert artifact.get_entry("f").read_bytes() == b"%d" % (index % 3) * 5000
            artifact.delete()
            last = put(engine, "other", b"%d" % (index % 3) * 5000)
            assert last.get_entry("f").read_bytes() == b"%d" % (index % 3) * 5000
    finally:
        over.set()
        thread.join()
    assert not errors
