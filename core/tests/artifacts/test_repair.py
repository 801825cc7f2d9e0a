"""Damaged and lost blobs are put together again, exactly, or stay as they are."""

import os
import shutil
import time
from pathlib import Path

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.gc import collect_garbage
from windlass.artifacts.repair import repair
from windlass.errors import IntegrityError


def put(engine: ArtifactEngine, folder: Path) -> Artifact:
    artifact = Artifact("data", "dataset")
    artifact.add_dir(folder)
    return engine.log(artifact)


def place(engine: ArtifactEngine, digest: str) -> Path:
    return Path(engine.blobs.local_path(digest) or "")


def flip(file: Path, at: int) -> None:
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def check(engine: ArtifactEngine, artifact: Artifact, tmp_path: Path) -> None:
    assert list(engine.damages(artifact.manifest)) == []
    root = tmp_path / f"out{time.time_ns()}"
    engine.download(artifact.manifest, str(root), link="copy")
    engine.verify(artifact.manifest, str(root))


def test_nothing_to_do(engine: ArtifactEngine, tree: Path) -> None:
    found = repair(engine, put(engine, tree).info)
    assert (found.blobs > 3, found.restored, found.lost) == (True, (), {})


@pytest.mark.parametrize("loss", ["lost", "flipped", "cut short", "emptied"])
def test_from_a_folder(engine: ArtifactEngine, tree: Path, tmp_path: Path, loss: str) -> None:
    artifact = put(engine, tree)
    blobs = [artifact.manifest[path].parts[0][0] for path in ("sub/001.bin", "large")]
    blobs.append(artifact.manifest["middle"].digest)
    blobs.append(artifact.manifest["large"].parts[-1][0])
    for blob in blobs:
        file = place(engine, blob)
        if loss == "lost":
            file.unlink()
        else:
            flip(file, 5)
            os.truncate(file, {"flipped": file.stat().st_size, "cut short": 9, "emptied": 0}[loss])
    assert list(engine.damages(artifact.manifest))
    done = repair(engine, artifact.info, str(tree))
    assert set(done.restored) == set(blobs)
    assert not done.lost
    assert not list(engine.blobs.retired())  # damaged bytes would be read if the good ones were lost
    check(engine, artifact, tmp_path)
    collect_garbage(engine.store, grace=-1, undelete=-1, wait=0.1)
    check(engine, artifact, tmp_path)  # what was put aside does not come back


def test_what_is_left_of_a_pack_is_used(engine: ArtifactEngine, tree: Path, tmp_path: Path) -> None:
    first = put(engine, tree)
    blob, offset, _ = first.manifest["sub/001.bin"].parts[0]
    (tree / "sub/000.bin").write_bytes(b"another")  # the pack holds a file that the new version has not
    second = put(engine, tree)
    assert second.manifest["sub/001.bin"].parts[0][0] == blob
    flip(place(engine, blob), offset)
    lost = repair(engine, second.info).lost
    assert "sub/001.bin" in lost[blob]
    with pytest.raises(IntegrityError, match="damaged"):
        second.get_entry("sub/001.bin").read_bytes()
    (tmp_path / "one/sub").mkdir(parents=True)
    shutil.copy(tree / "sub/001.bin", tmp_path / "one/sub/001.bin")
    assert repair(engine, second.info, str(tmp_path / "one")).restored == (blob,)
    check(engine, second, tmp_path)
    check(engine, first, tmp_path)


def test_from_the_cache(engine: ArtifactEngine, tree: Path, tmp_path: Path) -> None:
    artifact = put(engine, tree)
    engine.materialize(artifact.manifest["large"])
    place(engine, artifact.manifest["large"].parts[0][0]).unlink()
    assert len(repair(engine, artifact.info).restored) == 1
    check(engine, artifact, tmp_path)


def test_other_content_restores_nothing(engine: ArtifactEngine, tree: Path) -> None:
    artifact = put(engine, tree)
    blob = artifact.manifest["middle"].digest
    place(engine, blob).unlink()
    size = (tree / "middle").stat().st_size
    for content in (b"x" * size, b"shorter"):
        (tree / "middle").write_bytes(content)
        assert repair(engine, artifact.info, str(tree)).lost == {blob: ("middle",)}
    assert not place(engine, blob).exists()


@pytest.mark.parametrize("what", ["folder", "file"])
def test_content_under_other_names_is_found(engine: ArtifactEngine, tree: Path, tmp_path: Path, what: str) -> None:
    artifact = put(engine, tree)
    blob = artifact.manifest["middle"].digest
    flip(place(engine, blob), 7)
    other = tmp_path / "elsewhere/moved"
    other.parent.mkdir()
    (other.parent / "same size").write_bytes(bytes((tree / "middle").stat().st_size))
    shutil.copy(tree / "middle", other)
    assert repair(engine, artifact.info, str(other.parent if what == "folder" else other)).restored == (blob,)
    check(engine, artifact, tmp_path)
    assert place(engine, blob).stat().st_mode & 0o777 == 0o444


def test_what_is_whole_is_not_replaced(engine: ArtifactEngine, tree: Path) -> None:
    artifact = put(engine, tree)
    file = place(engine, artifact.manifest["middle"].digest)

    def identity() -> tuple[int, int, int]:
        found = file.stat()  # not the time of access, which reading it to compare may move
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns

    before = identity()
    engine.blobs.replace(artifact.manifest["middle"].digest, (tree / "middle").read_bytes())
    assert identity() == before
    with pytest.raises(IntegrityError, match="nothing was stored"):
        engine.blobs.replace(artifact.manifest["middle"].digest, b"other")


@pytest.mark.parametrize("loss", ["lost", "flipped"])
@pytest.mark.parametrize("known", [True, False], ids=["same host", "other host"])
def test_a_manifest_is_written_again(
    engine: ArtifactEngine, tree: Path, tmp_path: Path, loss: str, known: bool
) -> None:
    artifact = put(engine, tree)
    file = place(engine, artifact.manifest.digest)
    file.unlink() if loss == "lost" else flip(file, 30)
    if not known:
        shutil.rmtree(engine.settings.cache_dir)
    with pytest.raises(IntegrityError, match="manifest") as caught:
        list(engine.get("data").entries())
    assert "artifact repair" in caught.value.hint
    with pytest.raises(IntegrityError, match="no files were given"):
        repair(engine, artifact.info)
    with pytest.raises(IntegrityError, match="these files make another"):
        repair(engine, artifact.info, str(tree / "sub"))
    assert repair(engine, artifact.info, str(tree)).restored == (artifact.info.manifest,)
    check(engine, engine.get("data"), tmp_path)


def test_manifests_of_versions_that_share_content_are_written_again(
    engine: ArtifactEngine, tree: Path, tmp_path: Path
) -> None:
    first = put(engine, tree)
    (tree / "sub/more").write_bytes(b"more")
    second = put(engine, tree)
    for artifact in (first, second):
        place(engine, artifact.info.manifest).unlink()
    shutil.rmtree(engine.settings.cache_dir)
    (tree / "sub/more").rename(tmp_path / "more")
    assert repair(engine, first.info, str(tree)).restored == (first.info.manifest,)
    (tmp_path / "more").rename(tree / "sub/more")
    assert repair(engine, second.info, str(tree)).restored == (second.info.manifest,)
    check(engine, first, tmp_path)
    check(engine, second, tmp_path)


def test_a_lost_manifest_keeps_nobody_from_storing(engine: ArtifactEngine, tree: Path, tmp_path: Path) -> None:
    place(engine, put(engine, tree).manifest.digest).unlink()
    (tree / "sub/000.bin").write_bytes(b"another")
    shutil.rmtree(engine.settings.cache_dir)
    artifact = put(engine, tree)
    assert artifact.version == "v1"
    check(engine, artifact, tmp_path)
