from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from windlass.artifacts import upload
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.digest import digest_of
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.roots import default_root
from windlass.artifacts.statcache import StatCache
from windlass.artifacts.target import Target
from windlass.errors import ArtifactNotFoundError, ConflictError, IntegrityError, StorageError, UsageError
from windlass.settings import Settings

Snapshot = Callable[[Path | str], dict[str, bytes]]


def test_there_and_back(logged: Artifact, tree: Path, snapshot: Snapshot) -> None:
    assert (logged.version, logged.aliases, logged.type) == ("v0", ["latest"], "dataset")
    assert logged.info.entries == 45
    assert snapshot(logged.download()) == snapshot(tree)


def test_same_content_is_no_new_version(engine: ArtifactEngine, logged: Artifact, tree: Path) -> None:
    before = {blob.digest for blob in engine.blobs.list()}
    again = Artifact("data", "dataset")
    for path in sorted((p for p in tree.rglob("*") if p.is_file()), reverse=True):
        again.add_file(path, str(path.relative_to(tree)))
    engine.log(again, aliases=["same"])
    assert (again.version, again.digest) == ("v0", logged.digest)
    assert set(again.aliases) == {"latest", "same"}
    assert {blob.digest for blob in engine.blobs.list()} == before


def test_unchanged_files_are_not_read_again(
    engine: ArtifactEngine, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time.sleep(0.1)  # beyond the time in which a change could go unnoticed
    first = Artifact("data", "dataset")
    first.add_dir(tree)
    engine.log(first)
    reads: list[str] = []
    original = os.open
    monkeypatch.setattr(os, "open", lambda path, *args, **kw: reads.append(str(path)) or original(path, *args, **kw))
    (tree / "twin").write_text("other")
    second = Artifact("data", "dataset")
    second.add_dir(tree)
    engine.log(second)
    assert second.version == "v1"
    assert [path for path in reads if path.startswith(str(tree))] == [str(tree / "twin")]


def test_racy_files_are_read_again(engine: ArtifactEngine, tmp_path: Path) -> None:
    """Two contents of one length, the second with the time stamps of the first."""
    file = tmp_path / "file"
    for content in ("one", "two", "six"):
        file.write_text(content)
        artifact = Artifact("racy", "dataset")
        artifact.add_file(file)
        engine.log(artifact)
        assert artifact.get_entry("file").read_bytes() == content.encode()
    assert artifact.version == "v2"


def test_an_insertion_stores_little(engine: ArtifactEngine, logged: Artifact, tree: Path) -> None:
    pytest.importorskip("pyfastcdc")
    before = sum(blob.size for blob in engine.blobs.list())
    data = (tree / "large").read_bytes()
    (tree / "large").write_bytes(data[: 9 << 20] + b"inserted" * 1000 + data[9 << 20 :])
    changed = Artifact("data", "dataset")
    changed.add_dir(tree)
    engine.log(changed)
    added = sum(blob.size for blob in engine.blobs.list()) - before
    assert added < 10 << 20
    assert changed.get_entry("large").read_bytes() == (tree / "large").read_bytes()
    assert logged.get_entry("large").read_bytes() == data


def test_small_files_share_blobs(engine: ArtifactEngine, logged: Artifact) -> None:
    packs = {logged.manifest[f"sub/{index:03}.bin"].parts[0][0] for index in range(40)}
    assert len(packs) == 1
    assert logged.manifest["middle"].parts == ()
    assert len(logged.manifest["large"].parts) > 1


def test_sha256(engine: ArtifactEngine, tree: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    engine.algorithm = "sha256"
    artifact = Artifact("data", "dataset")
    artifact.add_dir(tree)
    engine.log(artifact)
    assert artifact.digest.startswith("sha256:")
    assert {blob.digest.partition(":")[0] for blob in engine.blobs.list()} == {"sha256"}
    assert snapshot(artifact.download(tmp_path / "out")) == snapshot(tree)


# -- what changes under our hands


def test_file_changed_since_it_was_added(engine: ArtifactEngine, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    artifact = Artifact("a", "t")
    artifact.add_file(tmp_path / "f")
    (tmp_path / "f").write_text("longer")
    with pytest.raises(ConflictError, match="changed since"):
        engine.log(artifact)
    with pytest.raises(ArtifactNotFoundError):
        engine.get("a")


def test_file_vanished(engine: ArtifactEngine, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    artifact = Artifact("a", "t")
    artifact.add_file(tmp_path / "f")
    (tmp_path / "f").unlink()
    with pytest.raises(ConflictError, match="vanished"):
        engine.log(artifact)


def test_mutable_files_are_copied(engine: ArtifactEngine, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    artifact = Artifact("a", "t")
    artifact.add_file(tmp_path / "f", policy="mutable")
    (tmp_path / "f").unlink()
    assert engine.log(artifact).get_entry("f").read_bytes() == b"one"


# -- putting together


def test_same_path_twice(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    (tmp_path / "c").write_text("1")
    artifact = Artifact("a", "t")
    artifact.add_file(tmp_path / "a", "x")
    artifact.add_file(tmp_path / "c", "x")  # the same content
    with pytest.raises(UsageError, match="other content") as caught:
        artifact.add_file(tmp_path / "b", "x")
    assert str(tmp_path / "b") in str(caught.value)
    artifact.add_file(tmp_path / "b", "x", overwrite=True)
    assert len(artifact) == 1


def test_file_and_folder_of_one_name(engine: ArtifactEngine, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    artifact = Artifact("a", "t")
    artifact.add_file(tmp_path / "a", "x/y/z")
    artifact.add_file(tmp_path / "a", "x")
    with pytest.raises(UsageError, match="below it"):
        engine.log(artifact)


def test_include_exclude_and_ignore_file(tmp_path: Path) -> None:
    root = tmp_path / "r"
    for name in ("a.py", "b.txt", "sub/c.py", "sub/d.log", "build/e.py", "keep.log", "sub/.hidden"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".windlassignore").write_text("*.log\n!keep.log\nbuild/\n# comment\n\n/b.txt\n")

    def paths(**kwargs: object) -> set[str]:
        artifact = Artifact("a", "t")
        artifact.add_dir(root, **kwargs)  # type: ignore[arg-type]
        return set(artifact.draft.items)

    assert paths() == {".windlassignore", "a.py", "sub/c.py", "keep.log", "sub/.hidden"}
    assert paths(include=["*.py"]) == {"a.py", "sub/c.py"}
    assert paths(include=["sub/**"]) == {"sub/c.py", "sub/.hidden"}
    assert paths(exclude=["sub", ".*"]) == {"a.py", "keep.log"}
    assert paths(name="top", include=["a.py"]) == {"top/a.py"}


def test_symlinks(tmp_path: Path) -> None:
    root = tmp_path / "r"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_text("1")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "g").write_text("2")
    (root / "link").symlink_to("d/f")
    (root / "out").symlink_to("../outside")

    def paths(**options: Any) -> set[str]:
        artifact = Artifact("a", "t")
        artifact.add_dir(root, **options)
        return set(artifact.draft.items)

    with pytest.raises(UsageError, match="it is a symbolic link to") as caught:
        paths()
    assert "symlinks='follow'" in str(caught.value)
    assert paths(symlinks="skip") == {"d/f"}
    assert paths(symlinks="follow") == {"d/f", "link", "out/g"}
    assert paths(exclude=["link", "out"]) == {"d/f"}
    (tmp_path / "top").symlink_to("r")  # who names a link means what it leads to
    assert Artifact("a", "t").add_dir(tmp_path / "top", exclude=["link", "out"]) == 1
    assert Artifact("a", "t").add_file(root / "link") == "link"
    with pytest.raises(UsageError, match="no rule for symbolic links"):
        paths(symlinks="maybe")


@pytest.mark.parametrize(
    ("target", "said"), [("nowhere", "leads nowhere: nowhere"), ("link", "leads nowhere|Too many"), ("..", "back to a")]
)
def test_links_that_cannot_be_followed(tmp_path: Path, target: str, said: str) -> None:
    root = tmp_path / "r" / "d"
    root.mkdir(parents=True)
    (root / "link").symlink_to(target)
    with pytest.raises(UsageError, match=said) as caught:
        Artifact("a", "t").add_dir(tmp_path / "r", symlinks="follow")
    assert caught.value.where == str(root / "link")
    assert Artifact("a", "t").add_dir(tmp_path / "r", symlinks="skip") == 0


def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "r"
    root.mkdir()
    monkeypatch.chdir(root)  # paths of sockets are short
    os.mkfifo("pipe")
    with pytest.raises(UsageError, match="it is a FIFO"):
        Artifact("a", "t").add_dir(root)
    with pytest.raises(UsageError, match="a FIFO"):
        Artifact("a", "t").add_file(root / "pipe")
    Path("pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("here")
        with pytest.raises(UsageError, match="it is a socket"):
            Artifact("a", "t").add_dir(root)
        assert Artifact("a", "t").add_dir(root, exclude=["here"]) == 0
    Path("here").unlink()
    Path("null").symlink_to(os.devnull)
    with pytest.raises(UsageError, match="it is a device"):
        Artifact("a", "t").add_dir(root, symlinks="follow")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    Path(os.fsdecode(os.fsencode(str(tmp_path / "r")) + b"/\xff\xfe")).write_text("1")
    with pytest.raises(UsageError, match="UTF-8"):
        Artifact("a", "t").add_dir(tmp_path / "r")


def test_new_file(engine: ArtifactEngine) -> None:
    artifact = Artifact("a", "t")
    with artifact.new_file("d/notes.txt") as file:
        file.write("grüße")
    with pytest.raises(UsageError, match="already"), artifact.new_file("d/notes.txt"):
        pass
    with pytest.raises(RuntimeError), artifact.new_file("broken") as file:
        raise RuntimeError
    with artifact.new_file("b", "wb") as file:
        file.write(b"\0")
    engine.log(artifact)
    assert artifact.get_entry("d/notes.txt").read_bytes() == "grüße".encode()
    assert [entry.path for entry in artifact.entries()] == ["b", "d/notes.txt"]


def test_draft_of_a_version(engine: ArtifactEngine, logged: Artifact) -> None:
    stored = sum(blob.size for blob in engine.blobs.list())
    draft = logged.new_draft()
    draft.remove("sub/000.bin")
    draft.remove("sub/deep")
    with draft.new_file("added") as file:
        file.write("x")
    with pytest.raises(ArtifactNotFoundError):
        draft.remove("sub/deep")
    engine.log(draft)
    assert draft.version == "v1"
    assert len(draft) == 44
    assert sum(blob.size for blob in engine.blobs.list()) - stored < 20_000
    with pytest.raises(UsageError, match="new_draft"):
        draft.remove("added")


def test_incremental(engine: ArtifactEngine, logged: Artifact) -> None:
    more = Artifact("data", "dataset", incremental=True)
    with more.new_file("added") as file:
        file.write("x")
    engine.log(more)
    assert len(more) == 46
    assert "sub/000.bin" in more


def test_an_increment_removes_what_the_latest_version_has(engine: ArtifactEngine, logged: Artifact) -> None:
    logged = engine.log(_with_object(logged.new_draft()))
    more = Artifact("data", "dataset", incremental=True)
    for name in ("middle", "sub/deep", "thing"):
        more.remove(name)
    more.remove(logged.get_entry("twin"))
    with more.new_file("sub/000.bin", "w") as file:
        file.write("mine")
    more.remove("sub/000.bin")  # mine and that of the latest version
    with more.new_file("middle") as file:
        file.write("again")
    engine.log(more)
    gone = {entry.path for entry in logged.entries()} - {entry.path for entry in more.entries()}
    assert gone == {"sub/deep/ünï côdé #1?.txt", "twin", "thing.pkl", "sub/000.bin"}
    assert more.get_entry("middle").read_bytes() == b"again"


def _with_object(draft: Artifact) -> Artifact:
    draft.add({1}, "thing", serializer="pickle")
    return draft


@pytest.mark.parametrize("name", ["data", "new"], ids=["a latest version", "none"])
def test_an_increment_removes_nothing_that_nobody_has(engine: ArtifactEngine, logged: Artifact, name: str) -> None:
    more = Artifact(name, "dataset", incremental=True)
    with more.new_file("added") as file:
        file.write("x")
    more.remove("nothing")
    with pytest.raises(ArtifactNotFoundError, match=r"neither .* has an entry or a folder 'nothing'"):
        engine.log(more)
    with pytest.raises(UsageError, match="a share cannot remove 'nothing'"):
        engine.add_part(more, group="g", part="p")
    assert engine.get("data").version == "v0"


def test_the_default_folder_is_of_one_content(engine: ArtifactEngine, snapshot: Snapshot) -> None:
    made = []
    for project, names in (("demo", "ab"), ("other", "ac"), ("same", "ab")):
        artifact = Artifact("data", "dataset")
        for name in names:
            with artifact.new_file(name) as file:
                file.write(names)
        made.append(engine.log(artifact, project=project))
    ours, other, same = made
    assert other.default_root() == ours.default_root() == same.default_root(), "nothing is there yet"
    root = ours.download()
    assert root == ours.default_root() == f"{engine.settings.artifact_dir}/data:v0"
    assert other.default_root() == f"{root}@{other.digest.partition(':')[2][:12]}"
    assert other.get_entry("c").download() == f"{other.default_root()}/c"
    assert other.checkout() == other.download() == other.default_root()
    assert same.checkout() == root
    assert snapshot(root).keys() == {"a", "b"}
    assert snapshot(other.default_root()).keys() == {"a", "c"}
    for artifact in made:
        artifact.verify()


def test_a_default_folder_is_claimed_by_the_first_of_many(tmp_path: Path) -> None:
    for number in range(50):
        above, start = f"{tmp_path}/{number}", threading.Barrier(8)

        def claim(digest: str, above: str = above, start: threading.Barrier = start) -> str:
            start.wait()
            return default_root(above, "data:v0", digest, claim=True)

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(claim, ["blake3:" + "a" * 64, "blake3:" + "b" * 64] * 4))
        assert len(set(found[::2])) == len(set(found[1::2])) == 1
        assert min(found) == f"{above}/data:v0"
        assert len(set(found)) == 2
        assert os.listdir(above) == [".data:v0.digest"]


def test_reserved_types_and_bad_labels(engine: ArtifactEngine) -> None:
    with pytest.raises(UsageError):
        Artifact("a", "job")
    with pytest.raises(UsageError):
        engine.log(Artifact("a", "t"), aliases=["a/b"])
    with pytest.raises(UsageError):
        engine.log(Artifact("a", "t"), tags=["a/b"])


def test_facts_before_logging() -> None:
    with pytest.raises(UsageError, match="not logged"):
        _ = Artifact("a", "t").version


def test_get_by_all_selectors(engine: ArtifactEngine, logged: Artifact) -> None:
    for path in ("data", "data:latest", "data:v0", "demo/data", "team/demo/data:v0", f"data@{logged.digest}"):
        assert engine.get(path).id == logged.id
    with pytest.raises(UsageError, match="'dataset', not 'model'"):
        engine.get("data", type="model")
    for path in ("data:v1", "data:nope", "nothing", "other/data"):
        with pytest.raises(ArtifactNotFoundError):
            engine.get(path)


# -- downloads


def test_partial_downloads(logged: Artifact, tmp_path: Path, snapshot: Snapshot) -> None:
    logged.download(tmp_path / "a", path_prefix="sub/deep")
    assert set(snapshot(tmp_path / "a")) == {"sub/deep/ünï côdé #1?.txt"}
    logged.download(tmp_path / "b", include=["*.bin"], exclude=["00?.bin"])
    assert len(snapshot(tmp_path / "b")) == 30
    path = logged.get_entry("sub/007.bin").download(tmp_path / "c")
    assert path == str(tmp_path / "c" / "sub/007.bin")


def test_download_repairs_and_checkout_deletes(
    logged: Artifact, tree: Path, tmp_path: Path, snapshot: Snapshot
) -> None:
    root = tmp_path / "out"
    logged.download(root)
    (root / "twin").write_text("HELLO")  # the same size
    (root / "additional").write_text("x")
    (root / "sub" / "more").mkdir()
    with pytest.raises(IntegrityError, match=r"different: 'twin'.*additional: 'additional'"):
        logged.verify(root)
    logged.download(root)
    assert (root / "twin").read_text() == "hello"
    assert (root / "additional").exists()
    logged.checkout(root)
    assert snapshot(root) == snapshot(tree)
    assert not (root / "sub" / "more").exists()
    logged.verify(root)


def test_a_checkout_that_fails_has_deleted_nothing(engine: ArtifactEngine, logged: Artifact, tmp_path: Path) -> None:
    root = tmp_path / "out"
    root.mkdir()
    (root / "mine").write_text("x")
    (blob,) = {part[0] for entry in logged.manifest if entry.path == "twin" for part in entry.parts}
    Path(engine.blobs.local_path(blob) or "").unlink()
    with pytest.raises(IntegrityError, match="not in the blob store any more"):
        logged.checkout(root)
    assert (root / "mine").read_text() == "x"


def test_checkout_clears_what_is_in_the_way(logged: Artifact, tree: Path, tmp_path: Path, snapshot: Snapshot) -> None:
    root, outside = tmp_path / "out", tmp_path / "outside"
    (root / "twin" / "x").mkdir(parents=True)  # a folder where a file belongs
    (root / "twin" / "x" / "y").touch()
    outside.mkdir()
    (outside / "stays").touch()
    (root / "sub").symlink_to(outside)  # a link where a folder belongs
    (root / "elsewhere").symlink_to(outside)
    (root / "gone").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    with pytest.raises(IntegrityError, match="additional: 'elsewhere', 'gone', 'pipe', 'sub', 'twin/x/y'"):
        logged.verify(root)
    logged.checkout(root)
    logged.verify(root)
    assert snapshot(root) == snapshot(tree)
    assert os.listdir(outside) == ["stays"]


def test_verify_sees_through_links_and_never_hangs(logged: Artifact, tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    logged.download(root)
    (root / "twin").unlink()
    (root / "twin").symlink_to(tree / "twin")
    logged.verify(root)
    (root / "empty").unlink()
    os.mkfifo(root / "empty")
    (root / "middle").unlink()
    (root / "middle").symlink_to("nowhere")
    with pytest.raises(IntegrityError, match="different: 'empty', 'middle'"):
        logged.verify(root)
    with pytest.raises(UsageError, match="no such folder"):
        logged.verify(tmp_path / "none")


def test_what_a_killed_download_leaves(logged: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "out"
    logged.download(root)
    left = root / "sub" / f".windlass-{'0' * 12}"
    left.write_text("half")
    logged.verify(root)  # it may be the work of another process
    logged.checkout(root)
    assert left.exists()
    (root / "sub" / "000.bin").unlink()
    logged.download(root)
    assert left.exists()
    (root / "sub" / "000.bin").unlink()
    monkeypatch.setattr("windlass.artifacts.files._ABANDONED", -1.0)
    logged.download(root)
    assert not left.exists()
    left.write_text("half")
    logged.checkout(root)
    assert not left.exists()


def test_folders_that_were_just_made_are_not_searched(
    logged: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    monkeypatch.setattr("windlass.artifacts.download.sweep", searched.append)
    root = tmp_path / "out"
    logged.download(root)
    assert not searched
    (root / "sub" / "000.bin").unlink()
    (root / "twin").unlink()
    logged.download(root)
    assert sorted(searched) == [str(root), str(root / "sub")]


def test_what_is_in_the_way_of_a_download(logged: Artifact, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="there is a file of that name") as caught:
        logged.download(tmp_path / "file")
    assert caught.value.hint
    with pytest.raises(StorageError) as other:
        logged.download(tmp_path / "file" / "below")
    assert "in the way" in other.value.hint
    (tmp_path / "out" / "twin").mkdir(parents=True)
    with pytest.raises(StorageError) as third:
        logged.download(tmp_path / "out")
    assert (third.value.where, "folder is in the way" in third.value.hint) == (str(tmp_path / "out" / "twin"), True)


@pytest.mark.parametrize("link", ["auto", "hard", "copy"])
def test_links(
    engine: ArtifactEngine, logged: Artifact, tree: Path, tmp_path: Path, link: str, snapshot: Snapshot
) -> None:
    for name in ("one", "two"):
        engine.download(logged.manifest, str(tmp_path / name), link=link)
        assert snapshot(tmp_path / name) == snapshot(tree)
    small, large = (os.stat(tmp_path / "two" / name) for name in ("twin", "large"))
    assert (small.st_nlink > 1) == (link == "hard")
    assert (large.st_nlink > 1) == (link != "copy") or large.st_blocks == 0
    if link == "copy":
        assert large.st_mode & 0o200


def test_nothing_is_written_through_links(logged: Artifact, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "out"
    root.mkdir()
    (root / "sub").symlink_to(outside)
    with pytest.raises(UsageError, match="symbolic link"):
        logged.download(root)
    assert list(outside.iterdir()) == []


def test_a_linked_file_is_replaced_not_followed(logged: Artifact, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    root = tmp_path / "out"
    root.mkdir()
    (root / "twin").symlink_to(outside)
    logged.download(root)
    assert outside.read_text() == "mine"
    assert (root / "twin").read_text() == "hello"
    assert not (root / "twin").is_symlink()


def test_reading_ranges(logged: Artifact, tree: Path) -> None:
    data = (tree / "large").read_bytes()
    with logged.get_entry("large").open() as file:
        file.seek(5 << 20)
        assert file.read(100) == data[5 << 20 : (5 << 20) + 100]
        file.seek(-50, os.SEEK_END)
        assert file.read() == data[-50:]
        file.seek(0)
        assert file.read() == data
    with logged.get_entry("sub/001.bin").open() as file:
        file.seek(10)
        assert file.read(10) == (tree / "sub/001.bin").read_bytes()[10:20]


def test_the_only_file(engine: ArtifactEngine, logged: Artifact, tmp_path: Path) -> None:
    artifact = Artifact("one", "t")
    with artifact.new_file("x") as file:
        file.write("1")
    engine.log(artifact)
    assert Path(artifact.file(tmp_path / "o")).read_text() == "1"
    with pytest.raises(UsageError, match="45 entries"):
        logged.file()


# -- damage


@pytest.mark.parametrize("place", ["twin", "middle", "large"])
def test_damaged_blobs_are_never_delivered(
    engine: ArtifactEngine, logged: Artifact, tmp_path: Path, place: str
) -> None:
    entry = logged.manifest[place]
    blob = entry.parts[0][0] if entry.parts else entry.digest
    path = engine.blobs.local_path(blob)
    assert path is not None
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.seek(entry.parts[0][1] if entry.parts else 0)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(IntegrityError) as caught:
        logged.get_entry(place).download(tmp_path / "out")
    assert place in str(caught.value)
    assert not (tmp_path / "out" / place).exists()
    with pytest.raises(IntegrityError):
        logged.get_entry(place).read_bytes()


def test_damaged_cache_is_repaired(engine: ArtifactEngine, logged: Artifact, tree: Path, tmp_path: Path) -> None:
    entry = logged.manifest["large"]
    path = engine.materialize(entry)
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(b"damage")
    engine.download(logged.manifest, str(tmp_path / "out"), link="hard")
    assert (tmp_path / "out" / "large").read_bytes() == (tree / "large").read_bytes()


def test_a_pack_holds_so_many_files_at_most(
    engine: ArtifactEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_PACK_MOST", 10)
    (tmp_path / "tiny").mkdir()
    for index in range(25):
        (tmp_path / "tiny" / f"{index:02}").write_text(f"{index}")
    artifact = Artifact("tiny", "t")
    artifact.add_dir(tmp_path / "tiny")
    packs = [entry.parts[0][0] for entry in engine.log(artifact).manifest]
    assert [packs.count(pack) for pack in dict.fromkeys(packs)] == [10, 10, 5]
    assert [artifact.get_entry(f"{index:02}").read_bytes() for index in range(25)] == [b"%d" % i for i in range(25)]


def test_a_lost_blob_is_stored_again(engine: ArtifactEngine, logged: Artifact, tree: Path) -> None:
    shutil.rmtree(engine.blobs.root_uri.removeprefix("file://"))  # type: ignore[attr-defined]
    again = Artifact("other", "dataset")
    again.add_dir(tree)
    engine.log(again)
    assert again.get_entry("large").read_bytes() == (tree / "large").read_bytes()
    assert again.get_entry("sub/001.bin").read_bytes() == (tree / "sub/001.bin").read_bytes()


def test_a_lost_blob_is_not_taken_for_the_place_of_its_content(
    engine: ArtifactEngine, logged: Artifact, tree: Path
) -> None:
    os.unlink(engine.blobs.local_path(logged.manifest["sub/001.bin"].parts[0][0]) or "")
    (tree / "more").write_text("a change, so that there is a new version")
    again = Artifact("data", "dataset")
    again.add_dir(tree)
    assert engine.log(again).version == "v1"
    assert again.get_entry("sub/001.bin").read_bytes() == (tree / "sub/001.bin").read_bytes()


# -- versions that several runs make


def contribution(text: str, path: str) -> Artifact:
    artifact = Artifact("shared", "t")
    with artifact.new_file(path) as file:
        file.write(text)
    return artifact


def test_several_runs_make_one_version(engine: ArtifactEngine) -> None:
    engine.add_part(contribution("old", "a"), group="g", part="one")
    engine.add_part(contribution("one", "a"), group="g", part="one")
    engine.add_part(contribution("two", "b"), group="g", part="two")
    engine.add_part(contribution("else", "c"), group="other", part="x")
    with pytest.raises(ArtifactNotFoundError):
        engine.get("shared")
    made = engine.finish(Artifact("shared", "t"), group="g", aliases=["done"])
    assert {entry.path: made.get_entry(entry.path).read_bytes() for entry in made.entries()} == {
        "a": b"one",
        "b": b"two",
    }
    assert engine.get("shared:done").version == "v0"
    with pytest.raises(UsageError, match="nobody"):
        engine.finish(Artifact("shared", "t"), group="g")


def test_parts_that_contradict(engine: ArtifactEngine) -> None:
    engine.add_part(contribution("one", "a"), group="g", part="first")
    engine.add_part(contribution("two", "a"), group="g", part="second")
    with pytest.raises(UsageError, match="'first' and 'second'"):
        engine.finish(Artifact("shared", "t"), group="g")


def test_labels_and_life(engine: ArtifactEngine, logged: Artifact) -> None:
    from datetime import timedelta

    logged.add_aliases("best")
    logged.add_tags("two words")
    logged.description, logged.metadata, logged.ttl = "text", {"k": (1,)}, timedelta(days=1)
    logged.save()
    found = engine.get("data:best")
    assert (found.description, found.metadata, found.ttl) == ("text", {"k": [1]}, timedelta(days=1))
    assert found.tags == ("two words",)
    with pytest.raises(UsageError):
        logged.add_aliases("v7")
    with pytest.raises(ConflictError):
        found.delete()
    found.remove_aliases("best").delete()
    with pytest.raises(ArtifactNotFoundError):
        engine.get("data")


def test_lineage(engine: ArtifactEngine, logged: Artifact) -> None:
    from windlass.artifacts.lineage import lineage_tree, openlineage_events
    from windlass.models.run import Run

    engine.store.runs.create(Run(id="train1", name="train", entity="team", project="demo"))
    engine.use(logged, "train1")
    model = Artifact("model", "model")
    with model.new_file("w") as file:
        file.write("1")
    engine.log(model, run="train1")
    up = lineage_tree(engine.store, model.info)
    assert [child.name for child in up.children] == ["train"]
    assert up.children[0].children[0].name == logged.path
    down = lineage_tree(engine.store, logged.info, direction="down")
    assert down.children[0].children[0].name == model.path
    (event,) = openlineage_events(engine.store, up)
    assert [item["name"] for item in event["inputs"]] == ["data"]
    assert event["outputs"][0]["facets"]["version"]["datasetVersion"] == "v0"
    assert (logged.used_by(), model.logged_by()) == (["train1"], "train1")


def test_interchange_digest(engine: ArtifactEngine) -> None:
    artifact = Artifact("x", "t")
    with artifact.new_file("file1.txt") as file:
        file.write("hello")
    assert engine.log(artifact).interchange_digest() == "a00c2239f036fb656c1dcbf9a32d89b4"


def test_an_unchanged_listing_is_recognised_as_a_whole(
    engine: ArtifactEngine, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put() -> Artifact:
        artifact = Artifact("data", "dataset")
        artifact.add_dir(tree)
        return engine.log(artifact)

    put()
    time.sleep(0.1)  # files are not racy any more
    for path in tree.rglob("*"):
        path.touch()
    time.sleep(0.1)
    assert put().version == "v0"
    assert put().version == "v0"
    monkeypatch.setattr(StatCache, "entry", lambda *_: pytest.fail("a file was looked up"))
    assert put().version == "v0"
    monkeypatch.undo()
    (tree / "twin").write_text("other")
    assert put().version == "v1"
    (tree / "twin").unlink()
    assert put().version == "v2"


def test_below_a_folder_that_is_not_utf8(engine: ArtifactEngine, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    with open(folder + b"/f", "w") as file:
        file.write("x")
    for _ in range(2):
        artifact = Artifact("data", "t")
        artifact.add_dir(os.fsdecode(folder))
        assert engine.log(artifact).version == "v0"


def test_putting_unchanged_files_again_loads_nothing_else(
    settings: Settings, engine: ArtifactEngine, tree: Path
) -> None:
    """Its time is mostly that of imports: no queues, no uploads, no downloads, no storage."""
    time.sleep(0.1)  # until the files are old enough to be remembered
    for _ in range(2):
        again = Artifact("data", "dataset")
        again.add_dir(tree)
        engine.log(again)
    code = """
import json, sys
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.plugins.app import App
from windlass.settings import Settings
app = App(Settings.from_env())
store = app.open_store()
artifact = Artifact("data", "dataset")
artifact.add_dir(sys.argv[1])
ArtifactEngine(app, store, app.settings).log(artifact)
store.close()
print(json.dumps([artifact.new_version, artifact.version, sorted(sys.modules)]))
"""
    env = {"PATH": os.environ["PATH"], "WINDLASS_HOME": str(settings.home), "WINDLASS_ENTITY": "team"}
    env["WINDLASS_PROJECT"] = "demo"
    done = subprocess.run([sys.executable, "-c", code, str(tree)], capture_output=True, text=True, check=True, env=env)
    new, version, modules = json.loads(done.stdout)
    assert (new, version) == (False, "v0")
    unwanted = ("windlass.models.queue", "windlass.models.run", "windlass.runners", "windlass.artifacts.upload")
    more = (
        "windlass.artifacts.download",
        "windlass_storage_file.storage",
        "windlass.blobs",
        "windlass.models.artifact_work",
        "windlass.plugins.storage_type",
        "logging",
        "mmap",
        "concurrent.futures",
        "cattrs",
        "yaml",
        "hashlib",
    )
    assert not {*unwanted, *more, "hashlib"} & set(modules)


def test_a_file_in_a_folder_that_was_just_made_is_replaced(
    engine: ArtifactEngine, logged: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may write below a folder that the checkout has made."""
    made = Target.places

    def places(self: Target, paths: list[str]) -> list[tuple[str, bool]]:
        found = made(self, paths)
        for path, (place, is_new) in zip(paths, found, strict=True):
            if path == "sub/000.bin":
                assert is_new
                Path(place).write_text("from somebody else")
        return found

    monkeypatch.setattr(Target, "places", places)
    for link in ("hard", "copy"):
        engine.download(logged.manifest, str(tmp_path / link), link=link)
        assert digest_of((tmp_path / link / "sub" / "000.bin").read_bytes()) == logged.manifest["sub/000.bin"].digest
