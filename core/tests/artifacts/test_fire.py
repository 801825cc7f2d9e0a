"""Processes that crowd, and a cache that is bounded."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from windlass.artifacts import cache as cache_module
from windlass.artifacts.cache import Cache, parse_size
from windlass.artifacts.digest import digest_of, hash_open
from windlass.artifacts.engine import ArtifactEngine
from windlass.errors import NoSpaceError, UsageError

PUT = """
import sys
import time
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.plugins.app import App
from windlass.settings import Settings
settings = Settings.from_env()
app = App(settings)
store = app.open_store()
engine = ArtifactEngine(app, store, settings)
for index in range(int(sys.argv[3])):
    artifact = Artifact(sys.argv[1], "t")
    artifact.add_dir(sys.argv[2])
    if int(sys.argv[3]) > 1:
        with artifact.new_file("own") as file:
            file.write(f"{sys.argv[4]} {index}")
    print(engine.log(artifact).version, flush=True)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "WINDLASS_HOME": str(tmp_path / "home"),
        "WINDLASS_ENTITY": "team",
        "WINDLASS_PROJECT": "demo",
    }


@pytest.mark.slow
def test_sixteen_processes_put_into_one_collection(
    engine: ArtifactEngine, environment: dict[str, str], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for index in range(20):
        (tree / f"{index}").write_bytes(random.Random(index).randbytes(200_000))
    engine.store.whoami()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUT, "data", str(tree), "3", str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(16)
    ]
    versions = []
    for process in processes:
        out, err = process.communicate(timeout=110)
        assert process.returncode == 0, err
        versions += out.split()
    assert sorted(int(version[1:]) for version in versions) == list(range(48))
    assert engine.get("data").version == "v47"
    contents = [blob for blob in engine.blobs.list() if blob.size == 200_000]
    assert len(contents) == 20


def test_only_sealed_objects_are_linked_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, data = Cache(tmp_path / "cache"), b"content"
    digest = digest_of(data)
    path = cache.add(digest, len(data), lambda handle: _write(handle, data), lease=False)
    read = []
    monkeypatch.setattr(cache_module, "hash_open", lambda *args: read.append(args) or hash_open(*args))
    assert cache.find_to_link(digest) == path
    assert not read, "it was proven when it was added"
    assert cache.find(digest, lease=False) == path
    assert len(read) == 1, "what is read is proven each time"

    week_old = os.stat(path).st_mtime_ns - 8 * 86400 * 10**9
    for mtime in (week_old, time.time_ns(), week_old + 20 * 86400 * 10**9):  # too long ago, no seal, in the future
        os.utime(path, ns=(mtime, mtime))
        read.clear()
        assert cache.find_to_link(digest) == path
        assert cache.find_to_link(digest) == path
        assert len(read) == 1, "it was sealed again"

    os.chmod(path, 0o644)
    Path(path).write_bytes(b"damaged")
    assert cache.find_to_link(digest) is None
    assert not os.path.exists(path)


def test_cache_is_bounded(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", limit=100_000)
    for index in range(50):
        data = bytes([index]) * 10_000
        cache.add(digest_of(data), len(data), lambda handle, data=data: _write(handle, data), lease=False)  # type: ignore[misc]
    info = cache.info()
    assert info.bytes <= 100_000
    assert cache.find(digest_of(bytes([49]) * 10_000), lease=False)
    assert not cache.find(digest_of(bytes([0]) * 10_000), lease=False)
    assert cache.clean() == info.bytes


def test_what_is_leased_while_another_process_cleans_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cleaning, using = Cache(tmp_path, 1 << 20), Cache(tmp_path, 1 << 20)
    data = b"x" * 1000
    cleaning.add(digest_of(data), 1000, lambda handle: _write(handle, data), lease=False)
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(using.find(digest_of(data))))
    look = cleaning._leased

    def looked(**options: bool) -> set[str]:
        leased = look(**options)
        thread.start()  # after the look, before anything is removed
        thread.join(0.3)
        return leased

    monkeypatch.setattr(cleaning, "_leased", looked)
    cleaning.clean()
    thread.join()
    assert found == [None], "what is said to be there must not be removed"
    using.close()


def test_a_lease_that_is_being_made_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    using, other = Cache(tmp_path, 1 << 20), Cache(tmp_path, 1 << 20)
    data = b"x" * 1000
    opened = os.open

    def asked_between(path: str | Path, *args: int) -> int:
        handle = opened(path, *args)
        if "/leases/" in str(path) and args[0] & os.O_APPEND:
            assert other.info().leased == 0  # it is there, and not locked yet
        return handle

    with monkeypatch.context() as slow:
        slow.setattr(os, "open", asked_between)
        using.add(digest_of(data), 1000, lambda handle: _write(handle, data))
    assert other.info().leased == 1
    using.close()


def test_leased_objects_stay(tmp_path: Path) -> None:
    mine, other = Cache(tmp_path / "cache", limit=10**9), Cache(tmp_path / "cache", limit=10**9)
    kept, gone = b"k" * 1000, b"g" * 1000
    path = mine.add(digest_of(kept), 1000, lambda handle: _write(handle, kept))
    mine.add(digest_of(gone), 1000, lambda handle: _write(handle, gone), lease=False)
    assert other.info().leased == 1
    assert other.clean() == 1000
    assert Path(path).read_bytes() == kept
    mine.close()
    assert other.clean() == 1000


def test_a_full_disk(tmp_path: Path) -> None:
    import errno

    cache = Cache(tmp_path / "cache", limit=10**9)
    old = b"o" * 1000
    cache.add(digest_of(old), 1000, lambda handle: _write(handle, old), lease=False)

    def fill(handle: int) -> None:
        if cache.info().objects:
            raise OSError(errno.ENOSPC, "full")
        _write(handle, b"n")

    assert Path(cache.add(digest_of(b"n"), 1, fill)).read_bytes() == b"n"

    def never(handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(NoSpaceError, match="nothing more to give"):
        cache.add(digest_of(b"x"), 1, never)
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


@pytest.mark.parametrize(("text", "size"), [("10", 10), ("1k", 1000), ("2 GiB", 2 << 30), ("1.5MB", 1_500_000)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1XB", "10 apples"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


def _write(handle: int, data: bytes) -> None:
    os.write(handle, data)
