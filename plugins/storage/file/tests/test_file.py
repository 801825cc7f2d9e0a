from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from windlass.errors import NoSpaceError, ObjectNotFoundError, StorageError, UsageError
from windlass.storage import ObjectRef, file_uri
from windlass_storage_file.config import FileStorageConfig
from windlass_storage_file.storage import FileStorage, path_of


@pytest.fixture(params=["nameless", "named", "fsync"])
def storage(request: pytest.FixtureRequest) -> FileStorage:
    """With nameless files, without (as on NFS), and with flushing."""
    made = FileStorage(FileStorageConfig(fsync=request.param == "fsync"))
    if request.param == "named":
        made._nameless = False
    return made


def test_objects_put_once_are_read_only(storage: FileStorage, tmp_path: Path) -> None:
    storage.put(f"file://{tmp_path}/a/b", b"1")
    assert not stat.S_IMODE(os.stat(tmp_path / "a" / "b").st_mode) & 0o222
    storage.put(f"file://{tmp_path}/a/b", b"2", if_absent=False)
    assert (tmp_path / "a" / "b").read_bytes() == b"2"


def test_a_full_disk_leaves_nothing(storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NoSpaceError, match="No space") as caught:
        storage.put(f"file://{tmp_path}/x", b"1")
    assert "cache clean" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_of_many_writers_one_wins(storage: FileStorage, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/sub/race"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: storage.put(uri, bytes([i]) * 50_000), range(8)))
    data = (tmp_path / "sub" / "race").read_bytes()
    assert len(data) == 50_000
    assert len(set(data)) == 1
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["race"]


def test_a_killed_writer_leaves_nothing_visible(tmp_path: Path) -> None:
    code = f"""
from windlass_storage_file.storage import FileStorage
storage = FileStorage()
for index in range(10_000):
    storage.put(f"file://{tmp_path}/{{index}}", b"x" * 1_000_000)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    while not any(tmp_path.iterdir()):
        time.sleep(0.01)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert {info.size for info in FileStorage().list(f"file://{tmp_path}")} == {1_000_000}


def test_temporary_files_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".windlass-tmp-123").write_text("half")
    assert list(FileStorage().list(f"file://{tmp_path}")) == []


def test_links_in_listings(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("1")
    (tmp_path / "l").symlink_to("d")
    (tmp_path / "d" / "up").symlink_to("..")
    os.mkfifo(tmp_path / "pipe")
    names = [info.uri.removeprefix(f"file://{tmp_path}/") for info in FileStorage().list(f"file://{tmp_path}")]
    assert names == ["d/f", "l/f"]
    (tmp_path / "broken").symlink_to("nowhere")
    with pytest.raises(StorageError, match="leads nowhere"):
        list(FileStorage().list(f"file://{tmp_path}"))


def test_not_utf8_names(tmp_path: Path) -> None:
    path = os.fsencode(str(tmp_path)) + b"/\xff\xfe"
    Path(os.fsdecode(path)).write_text("x")
    (info,) = FileStorage().list(f"file://{tmp_path}")
    assert info.uri.endswith("/%FF%FE")
    with FileStorage().open(ObjectRef(uri=info.uri)) as stream:
        assert stream.read() == b"x"


@pytest.mark.parametrize("uri", ["file://host/x", "file:x", "file://", "s3://b/x", "/x", "file:///a%00b"])
def test_bad_addresses(uri: str) -> None:
    with pytest.raises(UsageError):
        path_of(uri)


@pytest.mark.parametrize("path", ["/a b", "/a%41", "/ü", "/a?b#c", "/a\nb\tc"])
def test_addresses_round_trip(path: str) -> None:
    assert path_of(file_uri(path)) == path


def test_a_file_below_a_file(storage: FileStorage, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("1")
    with pytest.raises(ObjectNotFoundError):
        storage.stat(f"file://{tmp_path}/f/x")
    with pytest.raises(StorageError):
        storage.put(f"file://{tmp_path}/f/x", b"1")


def test_too_long_a_name(storage: FileStorage, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="255 bytes"):
        storage.put(f"file://{tmp_path}/{'x' * 300}", b"1")
