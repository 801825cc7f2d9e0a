"""Full and read-only disks, hostile names, lines that flip bits, clocks that jump, folders that do not hold still."""

from __future__ import annotations

import io
import os
import random
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from windlass.artifacts import target
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.cache import Cache
from windlass.artifacts.digest import digest_of
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.manifest import Row
from windlass.artifacts.manifest_writing import write_manifest
from windlass.errors import (
    ArtifactNotFoundError,
    ConflictError,
    IntegrityError,
    NoSpaceError,
    StorageError,
    UsageError,
    WindlassError,
)
from windlass.models.artifact import NewVersion
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass.storage import write_all

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Small file systems of their own, where that is allowed."""
    made: list[Path] = []

    def make(size: str = "8m") -> Path:
        folder = tmp_path / f"disk{len(made)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no file systems can be mounted here: {done.stderr.decode().strip()}")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def open_engine(home: Path) -> ArtifactEngine:
    settings = Settings.from_env({"WINDLASS_HOME": str(home), "WINDLASS_ENTITY": "team", "WINDLASS_PROJECT": "demo"})
    app = App(settings)
    return ArtifactEngine(app, app.open_store(), settings)


def noise_file(path: Path, size: int) -> Path:
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def add(name: str, *files: Path) -> Artifact:
    artifact = Artifact(name, "t")
    for file in files:
        artifact.add_file(file)
    return artifact


def test_put_on_a_full_disk(mount: Mount, tmp_path: Path) -> None:
    engine = open_engine(mount())
    with pytest.raises(NoSpaceError, match="gc"):
        engine.log(add("large", noise_file(tmp_path / "large", 12 << 20)))
    with pytest.raises(ArtifactNotFoundError):
        engine.get("large")
    small = engine.log(add("small", noise_file(tmp_path / "small", 1000)))  # what failed has left nothing in the way
    assert len(small.get_entry("small").read_bytes()) == 1000
    engine.store.close()


def test_files_that_are_larger_than_may_be(engine: ArtifactEngine, tmp_path: Path) -> None:
    logged = engine.log(add("large", noise_file(tmp_path / "large", 1_000_000)))
    other = add("other", noise_file(tmp_path / "other", 1_000_001))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="File too large") as got:
            engine.download(logged.manifest, str(tmp_path / "out"))
        with pytest.raises(StorageError, match="File too large") as put:
            engine.log(other)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "ulimit -f" in got.value.hint
    assert "ulimit -f" in put.value.hint
    assert list((tmp_path / "out").iterdir()) == []
    assert engine.log(other).version == "v0"


def test_get_to_a_full_disk(engine: ArtifactEngine, mount: Mount, tmp_path: Path) -> None:
    disk = mount()
    logged = engine.log(add("large", noise_file(tmp_path / "large", 12 << 20)))
    for link in ("copy", "hard"):
        with pytest.raises(NoSpaceError):
            engine.download(logged.manifest, str(disk / "out"), link=link)
        assert list((disk / "out").iterdir()) == []


def test_a_full_cache_does_not_keep_from_copying(
    engine: ArtifactEngine, mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.cache, "folder", mount() / "cache")
    logged = engine.log(add("large", noise_file(tmp_path / "large", 12 << 20)))
    engine.download(logged.manifest, str(tmp_path / "out"), link="hard")
    engine.verify(logged.manifest, str(tmp_path / "out"))


@pytest.mark.parametrize("holds", [0, 500_000])
def test_a_cache_can_be_cleaned_on_a_full_disk(mount: Mount, holds: int) -> None:
    disk = mount()
    cache = Cache(disk / "cache")
    if holds:
        data = random.Random(holds).randbytes(holds)
        cache.add(digest_of(data), holds, lambda handle: write_all(handle, data), lease=False)
    with pytest.raises(OSError, match="No space"), open(disk / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    cache.settle()
    assert cache.clean() == holds
    assert cache.info().bytes == 0


def test_read_only_folders(engine: ArtifactEngine, mount: Mount, tmp_path: Path) -> None:
    disk = mount()
    noise_file(disk / "data", 200_000)
    (disk / "empty").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    logged = engine.log(add("data", disk / "data"))
    logged.download(disk)  # it is there already
    for name in ("f", "below", "empty"):
        with pytest.raises(StorageError, match="Read-only"):
            engine.download(logged.manifest, str(disk / name))
    logged.download(tmp_path / "out")


def test_a_read_only_cache_costs_time_only(engine: ArtifactEngine, mount: Mount, tmp_path: Path) -> None:
    disk = mount()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    other = ArtifactEngine(engine.app, engine.store, engine.settings.replace(cache_dir=disk / "cache"))
    made = add("data", noise_file(tmp_path / "data", 200_000))  # large enough to be linked from the cache
    made.add({1, 2}, "objects", serializer="pickle")
    logged = other.log(made)
    assert logged.version == "v0"
    assert Path(logged.download(tmp_path / "out"), "data").stat().st_size == 200_000
    assert logged.get("objects") == {1, 2}
    with pytest.raises(StorageError, match="Read-only") as caught:
        other.materialize(next(logged.entries()))
    assert "WINDLASS_CACHE_DIR" in caught.value.hint


# -- names


HOSTILE = ["../out", "/etc/out", "C:\\out", "a/../../out", "a\0b", "..\\out", "\\\\host\\share\\out", "a//b", "./a"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest(engine: ArtifactEngine, tmp_path: Path, name: str) -> None:
    """Whoever writes manifests by hand writes nothing outside the folder of a download."""
    logged = engine.log(add("data", noise_file(tmp_path / "f", 10)))
    entry = logged.manifest["f"]
    row = Row(name, bytes.fromhex(entry.digest[7:]), entry.size, [])
    manifest = write_manifest([row], engine.blobs.put).digest
    new = NewVersion(entity="team", project="demo", name="evil", type="t", digest=f"blake3:{0:064}", manifest=manifest)
    evil = engine.wrap(engine.store.artifacts.commit(new).version)
    root = tmp_path / "deep" / "root"
    with pytest.raises(WindlassError, match="cannot be a path"):
        evil.download(root)
    assert [path for path in (tmp_path / "deep").rglob("*") if path.is_file()] == []


def test_long_and_odd_names(engine: ArtifactEngine, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    names = ["n" * 255, "ü" * 127, "-rf", "a\nb", "%2e%2e", "CON", "a?b#c", "Case", "case", "\u202egnp.exe"]
    for name in names:
        (tree / name).write_text(name)
    artifact = Artifact("data", "t")
    artifact.add_dir(tree)
    out = Path(engine.log(artifact).download(tmp_path / "out"))
    assert {path.name: path.read_text() for path in out.iterdir()} == {name: name for name in names}


def test_names_that_differ_in_case_only(
    engine: ArtifactEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not target.folds_case(str(tmp_path))
    artifact = Artifact("data", "t")
    for name in ("Case/a", "other", "case/A"):
        with artifact.new_file(name) as file:
            file.write(name)
    logged = engine.log(artifact)
    monkeypatch.setattr(target, "folds_case", lambda _: True)
    with pytest.raises(UsageError, match="'Case/a' and 'case/A' are one name"):
        logged.download(tmp_path / "out")
    logged.download(tmp_path / "out", exclude=["Case/"])


# -- bits that flip on the way


class Flipping(io.RawIOBase):
    def __init__(self, stream: BinaryIO, at: int) -> None:
        self._stream = stream
        self._at = at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        if 0 <= self._at < count:
            buffer[self._at] ^= 1
        self._at -= count
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


@pytest.mark.parametrize("path", ["sub/003.bin", "middle", "large"])
def test_a_bit_flips_in_transfer(
    engine: ArtifactEngine, logged: Artifact, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = logged.manifest[path]
    straight = engine.blobs.open
    for seed in range(3):
        at = random.Random(seed).randrange(min(entry.size, 1 << 20))
        monkeypatch.setattr(
            engine.blobs,
            "open",
            lambda *args, at=at: io.BufferedReader(Flipping(straight(*args), at)),
        )
        with pytest.raises(IntegrityError, match=f"'{path}'") as caught:
            engine.download(logged.manifest, str(tmp_path / "out"), prefix=path)
        assert "artifact verify" in caught.value.hint
        assert not (tmp_path / "out" / path).exists()
        with pytest.raises(IntegrityError):
            logged.get_entry(path).read_bytes()
    monkeypatch.undo()
    logged.get_entry(path).download(tmp_path / "out")


def test_damages_names_everything(engine: ArtifactEngine, logged: Artifact) -> None:
    for digest in {logged.manifest["sub/003.bin"].parts[0][0], logged.manifest["middle"].digest}:
        file = Path(engine.blobs.local_path(digest) or "")
        file.chmod(0o644)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(data)
    Path(engine.blobs.local_path(logged.manifest["large"].parts[0][0]) or "").unlink()
    found = list(engine.damages(logged.manifest))
    assert len(found) == 3
    text = "\n".join(map(str, found))
    assert "'middle'" in text
    assert "the bytes of 'large' are not in the blob store" in text


# -- time


@pytest.mark.parametrize("shift", [-10 * 365 * 86400, 10 * 365 * 86400])
def test_a_clock_that_jumps_hides_no_change(
    engine: ArtifactEngine, tmp_path: Path, shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f"
    real = time.time_ns
    for round_ in range(4):
        file.write_text(f"{round_}")
        now = real() + shift * 10**9 * (round_ % 2)
        os.utime(file, ns=(now, now))
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        assert engine.log(add("data", file)).get_entry("f").read_bytes() == f"{round_}".encode()
    assert engine.get("data").version == "v3"


def test_a_session_that_ended_in_sleep(engine: ArtifactEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slept during the upload, and a collection elsewhere removed what was stored before."""
    file = noise_file(tmp_path / "f", 200_000)
    put = engine.blobs.put_buffer
    slept = []

    def sleep_once(digest: str, data: memoryview) -> None:
        put(digest, data)
        if not slept:
            slept.append(digest)
            import sqlite3

            with sqlite3.connect(engine.settings.home / "windlass.db") as database:
                database.execute("UPDATE uploads SET renewed_at = 0, began_at = 0")
            database.close()
            engine.blobs.delete([blob.digest for blob in engine.blobs.list()])

    monkeypatch.setattr(engine.blobs, "put_buffer", sleep_once)
    logged = engine.log(add("data", file))
    assert slept
    assert list(engine.damages(logged.manifest)) == []


# -- folders that change


def test_a_folder_that_changes_while_it_is_read(engine: ArtifactEngine, tmp_path: Path) -> None:
    """Each attempt ends with a whole version or with an error that names a file; never with a mixture."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for index in range(200):
        (tree / f"{index}").write_bytes(bytes([index]) * 30_000)
    over = threading.Event()

    def stir() -> None:
        noise = random.Random(1)
        while not over.is_set():
            file = tree / f"{noise.randrange(200)}"
            match noise.randrange(3):
                case 0:
                    file.unlink(missing_ok=True)
                case 1:
                    with file.open("ab") as stream:
                        stream.write(b"x")
                case _:
                    file.write_bytes(noise.randbytes(30_000))
            time.sleep(0.0005)

    thread = threading.Thread(target=stir)
    thread.start()
    errors: list[WindlassError] = []
    try:
        for _ in range(15):
            artifact = Artifact("data", "t")
            try:
                artifact.add_dir(tree)
                engine.log(artifact)
            except (ConflictError, UsageError) as error:
                errors.append(error)
    finally:
        over.set()
        thread.join()
    assert errors
    assert all(str(tree) in error.where for error in errors)
    artifact = Artifact("data", "t")
    artifact.add_dir(tree)
    logged = engine.log(artifact)
    logged.verify(tree)
    assert list(engine.damages(logged.manifest)) == []
