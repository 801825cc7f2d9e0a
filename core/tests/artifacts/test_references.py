from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.manifest import Entry
from windlass.artifacts.proof import prove, prove_stream
from windlass.artifacts.references import reference_entries
from windlass.errors import ObjectChangedError, ObjectNotFoundError, StorageError, UnsupportedError, UsageError
from windlass.storage import ObjectInfo, ObjectRef, Storage


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    root = tmp_path / "mount" / "mnist"
    (root / "sub").mkdir(parents=True)
    (root / "a b#1.txt").write_text("hello")
    (root / "empty").touch()
    (root / "sub" / "x").write_text("x" * 1000)
    (tmp_path / "mount" / "mnist-other").mkdir()
    (tmp_path / "mount" / "mnist-other" / "no").write_text("no")
    return root


def test_a_folder(engine: ArtifactEngine, mount: Path, tmp_path: Path) -> None:
    artifact = Artifact("mnist", "dataset")
    entries = artifact.add_reference(f"file://{mount}/")
    assert sorted(entry.path for entry in entries) == ["a b#1.txt", "empty", "sub/x"]
    engine.log(artifact)
    assert [blob.size for blob in engine.blobs.list()] == [
        os.path.getsize(engine.blobs.local_path(artifact.info.manifest) or "")
    ]
    out = Path(artifact.download())
    assert out == tmp_path / "downloads" / "mnist:v0"
    assert (out / "a b#1.txt").read_text() == "hello"
    assert (out / "empty").read_bytes() == b""
    assert artifact.get_entry("sub/x").ref_target() == f"file://{mount}/sub/x"


def test_unchanged_is_no_new_version(engine: ArtifactEngine, mount: Path) -> None:
    for _ in range(2):
        artifact = Artifact("mnist", "dataset")
        artifact.add_reference(f"file://{mount}")
        engine.log(artifact)
        for path in mount.rglob("*"):
            os.utime(path, (1, 1))
    assert artifact.version == "v0"
    (mount / "sub" / "x").write_text("y" * 1000)
    artifact = Artifact("mnist", "dataset")
    artifact.add_reference(f"file://{mount}")
    assert engine.log(artifact).version == "v1"


def test_the_same_content_elsewhere_is_a_new_version(engine: ArtifactEngine, mount: Path) -> None:
    """Otherwise nobody could say where moved data is now."""
    first = Artifact("mnist", "dataset")
    first.add_reference(f"file://{mount}")
    engine.log(first)
    moved = mount.rename(mount.parent / "moved")
    second = Artifact("mnist", "dataset")
    second.add_reference(f"file://{moved}")
    assert engine.log(second).version == "v1"
    assert second.get_entry("sub/x").digest == first.get_entry("sub/x").digest
    assert second.get_entry("sub/x").open().read() == b"x" * 1000
    stored = Artifact("mnist", "dataset")
    stored.add_dir(moved)
    assert engine.log(stored).version == "v2", "it lies in the store now"


def test_what_was_logged_before_addresses_counted_is_still_proven(
    engine: ArtifactEngine, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("windlass.artifacts.manifest_writing.FORMAT", 1)
        before.setattr("windlass.artifacts.statcache.facts_of_each", lambda refs, extras: [""] * len(refs))
        old = Artifact("mnist", "dataset")
        old.add_reference(f"file://{mount}")
        engine.log(old)
    found = engine.get("mnist")
    found.check_manifest()
    new = Artifact("mnist", "dataset")
    new.add_reference(f"file://{mount}")
    assert engine.log(new).version == "v1"
    new.check_manifest()


@pytest.mark.parametrize(
    ("algorithm", "value"),
    [
        ("md5", "acbd18db4cc2f85cedef654fccc4a4d8"),
        ("sha1", "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33"),
        ("crc32", "8c736521"),
        ("crc32c", "cfc4ae1d"),
        ("crc64nvme", "e4edf70e66ae0d02"),
        ("unheard-of", ""),
    ],
)
def test_checksums_of_stores_are_proven(tmp_path: Path, algorithm: str, value: str) -> None:
    """`foo` is what was recorded; a store that gives `bar` with the right size is found out."""
    entry = Entry("a", f"{algorithm}:{value}", 3, (), "mem://a", {"etag": "1"})
    prove(entry, 3, b"foo")
    prove_stream(io.BytesIO(b"foo"), entry)
    if not value:
        prove(entry, 3, b"bar")  # nothing here can tell
        return
    for wrong in (lambda: prove(entry, 3, b"bar"), lambda: prove_stream(io.BytesIO(b"bar"), entry)):
        with pytest.raises(ObjectChangedError, match=f"expected {algorithm}:{value}, found {algorithm}:"):
            wrong()


def test_overwritten_and_missing(engine: ArtifactEngine, mount: Path, tmp_path: Path) -> None:
    artifact = Artifact("mnist", "dataset")
    artifact.add_reference(f"file://{mount}")
    engine.log(artifact)
    (mount / "sub" / "x").write_text("y" * 1000)
    with pytest.raises(ObjectChangedError, match="expected"):
        artifact.download(tmp_path / "one")
    (mount / "sub" / "x").write_text("short")
    with pytest.raises(ObjectChangedError, match="expected"):
        artifact.download(tmp_path / "two")
    with pytest.raises(ObjectChangedError):
        artifact.get_entry("sub/x").open().read()
    (mount / "sub" / "x").unlink()
    with pytest.raises(ObjectNotFoundError):
        artifact.download(tmp_path / "three")
    artifact.download(tmp_path / "four", allow_missing_references=True)
    assert (tmp_path / "four" / "a b#1.txt").exists()


def test_without_checksum(engine: ArtifactEngine, mount: Path, tmp_path: Path) -> None:
    artifact = Artifact("mnist", "dataset")
    artifact.add_reference(f"file://{mount}", checksum=False)
    assert artifact.size == -1, "it is not known"
    assert engine.log(artifact).size == engine.get("mnist").info.size == -1
    (mount / "sub" / "x").write_text("changed")
    artifact.download(tmp_path / "out")
    assert (tmp_path / "out" / "sub" / "x").read_text() == "changed"


def test_nothing_is_kept_of_references_alone(engine: ArtifactEngine) -> None:
    artifact = Artifact("many", "dataset")
    for number in range(20_000):  # several leaves
        uri = f"mem://{number}"
        artifact.draft.add_entry(Entry(f"{number:06}", f"uri:{uri}", -1, (), uri), overwrite=False)
    engine.log(artifact)
    assert len(list(engine.blobs.list())) > 2
    assert not list(Path(engine.settings.cache_dir, "stat").glob("*"))


def test_links_below_a_folder_are_refused_followed_or_skipped_as_asked(
    engine: ArtifactEngine, mount: Path, tmp_path: Path
) -> None:
    (mount / "link").symlink_to("sub/x")
    (mount / "out").symlink_to("../mnist-other")

    def logged(**options: Any) -> Artifact:
        artifact = Artifact("mnist", "dataset")
        artifact.add_reference(f"file://{mount}", **options)
        return engine.log(artifact)

    for checksum in (True, False):
        with pytest.raises(UsageError, match="it is a symbolic link to") as caught:
            logged(checksum=checksum)
        assert "symlinks='follow'" in str(caught.value)
        plain = ["a b#1.txt", "empty", "sub/x"]
        assert [entry.path for entry in logged(symlinks="skip", checksum=checksum).entries()] == plain
        followed = logged(symlinks="follow", checksum=checksum)
        assert [entry.path for entry in followed.entries()] == [*plain[:2], "link", "out/no", "sub/x"]
        out = Path(followed.download(tmp_path / f"out-{checksum}"))
        assert ((out / "link").read_text(), (out / "out" / "no").read_text()) == ("x" * 1000, "no")
    (mount / "gone").symlink_to("nowhere")
    assert len(logged(symlinks="skip")) == 3
    with pytest.raises(UsageError, match="leads nowhere: nowhere"):
        logged(symlinks="follow")
    (tmp_path / "top").symlink_to(mount)  # who names a link means what it leads to
    assert Artifact("a", "t").add_reference(f"file://{tmp_path}/top", symlinks="skip")[0].path == "a b#1.txt"
    assert Artifact("a", "t").add_reference(f"file://{mount}/link")[0].path == "link"
    with pytest.raises(UsageError, match="no rule for symbolic links"):
        logged(symlinks="maybe")


def test_too_many(mount: Path) -> None:
    with pytest.raises(UsageError, match="more than 2 objects") as caught:
        Artifact("mnist", "dataset").add_reference(f"file://{mount}", max_objects=2)
    assert "max_objects=" in str(caught.value)
    assert len(Artifact("mnist", "dataset").add_reference(f"file://{mount}", max_objects=3)) == 3


def test_names(mount: Path) -> None:
    artifact = Artifact("mnist", "dataset")
    assert artifact.add_reference(f"file://{mount}/sub/x")[0].path == "x"
    assert artifact.add_reference(f"file://{mount}/sub/x", name="named")[0].path == "named"
    assert artifact.add_reference(f"file://{mount}/sub", name="folder")[0].path == "folder/x"
    with pytest.raises(UsageError, match="other content") as caught:
        artifact.add_reference(f"file://{mount}/empty", name="x")
    assert f"file://{mount}/sub/x" in str(caught.value)
    assert f"file://{mount}/empty" in str(caught.value)


def test_what_is_no_address() -> None:
    with pytest.raises(UsageError, match="not an address") as caught:
        Artifact("a", "t").add_reference("http://[::1/x")
    assert caught.value.hint


@pytest.mark.parametrize("uri", ["no-scheme", "/abs"])
def test_no_scheme(uri: str) -> None:
    with pytest.raises(UsageError, match="no scheme"):
        Artifact("a", "t").add_reference(uri)


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("https://bob:5ecret@example.com/x", "password"),
        ("sftp://bob:5e@cret@host/x", "password"),
        ("zip://a.csv::http://bob:5ecret@example.com/a", "password"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Expires=60&X-Amz-Signature=5ecret", "signed"),
        ("https://storage.googleapis.com/b/k?x-goog-signature=5ecret&a=1", "signed"),
        ("https://a.blob.core.windows.net/c/k?sv=2024&sig=5ecret", "signed"),
        ("https://d.cloudfront.net/k?Expires=1&Signature=5ecret&Key-Pair-Id=K", "signed"),
        ("https://5ecret@git.example.com/raw/x", "token"),
    ],
)
def test_what_opens_an_address_is_refused_and_not_repeated(uri: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        Artifact("mnist", "dataset").add_reference(uri)
    assert "***" in caught.value.where
    assert "cret" not in str(caught.value)


def test_an_account_in_an_address_is_no_password(engine: ArtifactEngine, mount: Path) -> None:
    (mount / "ab:c@d").write_text("x")
    assert Artifact("mnist", "dataset").add_reference(f"file://{mount}/ab:c@d")[0].path == "ab:c@d"
    with pytest.raises(ObjectNotFoundError):
        Artifact("mnist", "dataset").add_reference("memory://container@account/x")


def test_a_file_below_a_file_is_named_with_both_origins(engine: ArtifactEngine, mount: Path) -> None:
    artifact = Artifact("mnist", "dataset")
    artifact.add_reference(f"file://{mount}/empty", name="a")
    artifact.add_reference(f"file://{mount}/sub/x", name="a/b")
    with pytest.raises(UsageError, match="'a' is a file, and 'a/b' is below it") as caught:
        engine.log(artifact)
    assert caught.value.where == f"file://{mount}/sub/x"
    assert f"file://{mount}/empty" in caught.value.hint


def test_nothing_there(mount: Path) -> None:
    with pytest.raises(ObjectNotFoundError):
        Artifact("a", "t").add_reference(f"file://{mount}/none")


def test_nothing_there_where_nothing_is_listed() -> None:
    class Web(Storage):
        def stat(self, uri: str) -> ObjectInfo:
            raise ObjectNotFoundError("404 Not Found", where=uri)

        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            raise UnsupportedError("there is no listing", where=prefix)

        def open(self, ref: ObjectRef, start: int = 0, length: int = -1) -> BinaryIO:
            raise AssertionError("nothing to open")

    with pytest.raises(ObjectNotFoundError, match="404"):
        reference_entries("web://host/none", None, lambda _: Web())
    with pytest.raises(UnsupportedError, match="no listing"):
        reference_entries("web://host/folder/", None, lambda _: Web())


def test_what_is_inside_of_another_object(engine: ArtifactEngine, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("x.txt", "one")
        archive.writestr("sub/y.txt", "two")
    archive_uri = (tmp_path / "z.zip").as_uri()
    for head, paths in (("zip://", ["sub/y.txt", "x.txt"]), ("zip://sub", ["y.txt"]), ("zip://sub/y.txt", ["y.txt"])):
        artifact = Artifact("refs", "dataset")
        artifact.app = engine.app
        entries = artifact.add_reference(f"{head}::{archive_uri}")
        assert [entry.path for entry in entries] == paths
        out = Path(engine.log(artifact).download(tmp_path / f"out{len(paths)}{len(head)}"))
        assert (out / paths[0]).read_text() == "two"


def test_a_filesystem_that_lacks_a_package_says_so(engine: ArtifactEngine) -> None:
    artifact = Artifact("refs", "dataset")
    artifact.app = engine.app
    with pytest.raises(StorageError, match="paramiko") as caught:
        artifact.add_reference("sftp://host/x")
    assert caught.value.hint == "pip install what 'sftp' needs."


def test_any_fsspec_protocol(engine: ArtifactEngine, tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    base = f"/{tmp_path.name}"
    memory.pipe(f"{base}/set/a", b"one")
    memory.pipe(f"{base}/set/b/c", b"two")
    memory.pipe(f"{base}/settle", b"no")
    artifact = Artifact("refs", "dataset")
    entries = artifact.add_reference(f"memory:/{base}/set")
    assert [entry.path for entry in entries] == ["a", "b/c"]
    engine.log(artifact)
    artifact.download(tmp_path / "out")
    assert (tmp_path / "out" / "b" / "c").read_bytes() == b"two"
    with artifact.get_entry("b/c").open() as file:
        file.seek(1)
        assert file.read() == b"wo"
    memory.pipe(f"{base}/set/a", b"changed")
    with pytest.raises(ObjectChangedError, match="expected"):
        artifact.download(tmp_path / "out2")
    with pytest.raises(StorageError):
        engine.app.storage_for("memory://x").stat("memory://x/none")
    memory.rm(base, recursive=True)
