"""Worker processes change nothing but the time it takes: what they cannot do is done, or refused, as without them."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.artifacts import packed_writing, reading_ahead, worker, workers
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.digest import digest_of
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.files import signature
from windlass.artifacts.workers import PLACES, ROOM, WORKER_FAILURES, Worker
from windlass.errors import ConflictError, IntegrityError
from windlass.plugins.app import App
from windlass.settings import Settings

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there are workers on Linux only")

Engines = Callable[..., ArtifactEngine]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """Two processors to spare, and few files are enough; gives the workers that were started."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(reading_ahead, "ENOUGH", 16)
    monkeypatch.setattr(reading_ahead, "_FILES", 8)
    monkeypatch.setattr(packed_writing, "ENOUGH", 16)
    started: list[Worker] = []

    class Seen(Worker):
        def __init__(self, algorithm: str) -> None:
            super().__init__(algorithm)
            started.append(self)

    monkeypatch.setattr(workers, "Worker", Seen)
    return started


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    """Engines with homes of their own."""
    made: list[tuple[ArtifactEngine, App]] = []

    def make(**more: str) -> ArtifactEngine:
        names = {"WINDLASS_HOME": str(tmp_path / f"home{len(made)}"), "WINDLASS_ENTITY": "e", "WINDLASS_PROJECT": "p"}
        app = App(Settings.from_env(names | more))
        engine = ArtifactEngine(app, app.open_store(), app.settings)
        made.append((engine, app))
        return engine

    yield make
    for engine, app in made:
        engine.cache.close()
        engine.store.close()
        app.close()


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Hundreds of small files: empty ones, twins, some between the small; larger ones among them."""
    noise = random.Random(3)
    root = tmp_path / "crowd"
    for folder in ("a", "b", "b/c d"):
        (root / folder).mkdir(parents=True)
        for index in range(150):
            size = noise.choice((0, 1, 100, 5000, 60_000))
            (root / folder / f"{index:04} ü").write_bytes(noise.randbytes(size))
    for index in range(0, 150, 7):
        (root / "b" / f"{index:04} twin").write_bytes((root / "a" / f"{index:04} ü").read_bytes())
    (root / "b" / "0070 middle").write_bytes(noise.randbytes(200_000))
    (root / "b" / "0071 large").write_bytes(noise.randbytes(17 << 20))
    return root


def put(engine: ArtifactEngine, folder: Path) -> Artifact:
    artifact = Artifact("data", "dataset")
    artifact.add_dir(folder)
    return engine.log(artifact)


def blobs(engine: ArtifactEngine) -> dict[str, int]:
    return {blob.digest: blob.size for blob in engine.blobs.list()}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def gone(started: list[Worker]) -> bool:
    return all(item._process.poll() is not None for item in started)


def test_put_is_the_same(engines: Engines, crowd: Path, few: list[Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    with_workers = engines()
    first = put(with_workers, crowd)
    assert len(few) == 2
    assert gone(few)
    with monkeypatch.context() as alone:
        alone.setattr(os, "sched_getaffinity", lambda _: {0})
        without = engines()
        second = put(without, crowd)
    assert len(few) == 2
    assert first.digest == second.digest
    assert blobs(with_workers) == blobs(without)
    first.verify(crowd)


def test_known_content_is_not_stored_again(engines: Engines, crowd: Path, few: list[Worker]) -> None:
    engine = engines()
    put(engine, crowd / "a")
    before = blobs(engine)
    (crowd / "new").write_bytes(b"new")
    os.rename(crowd / "a", crowd / "z")
    whole = put(engine, crowd)
    packed = {part[0] for entry in whole.manifest for part in entry.parts if entry.path.startswith("z/")}
    assert packed <= before.keys()
    whole.verify(crowd)


@pytest.mark.parametrize("algorithm", ["blake3", "sha256"])
def test_get(engines: Engines, crowd: Path, few: list[Worker], tmp_path: Path, algorithm: str) -> None:
    engine = engines(WINDLASS_DIGEST=algorithm)
    logged = put(engine, crowd)
    few.clear()
    logged.checkout(tmp_path / "out")
    assert len(few) == 2
    assert gone(few)
    assert content(tmp_path / "out") == content(crowd)
    for index, path in enumerate(sorted((tmp_path / "out").rglob("*"))):  # what is in the way is replaced
        if path.is_file() and index % 2:
            path.chmod(0o600)
            path.write_bytes(b"other")
    logged.checkout(tmp_path / "out")
    assert content(tmp_path / "out") == content(crowd)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_worker_dies(
    engines: Engines, crowd: Path, few: list[Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    begin, begun = Worker._begin, [0]

    def deadly(self: Worker, name: str, words: list[Any]) -> None:
        begun[0] += 1
        if begun[0] > after and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        begin(self, name, words)

    monkeypatch.setattr(Worker, "_begin", deadly)
    logged = put(engines(), crowd)
    assert begun[0] > after
    logged.verify(crowd)
    begun[0] = 0
    logged.checkout(tmp_path / "out")
    assert begun[0] > 1
    assert content(tmp_path / "out") == content(crowd)
    assert gone(few)


def test_worker_killed_while_it_works(engines: Engines, crowd: Path, few: list[Worker], tmp_path: Path) -> None:
    engine = engines()
    artifact = Artifact("data", "dataset")
    artifact.add_dir(crowd)

    def kill(_: int) -> None:
        for item in few:
            item._process.send_signal(signal.SIGKILL)

    logged = engine.log(artifact, done=kill)
    logged.verify(crowd)
    engine.download(logged.manifest, str(tmp_path / "out"), done=kill)
    assert content(tmp_path / "out") == content(crowd)
    assert gone(few)


def test_changed_and_vanished_files_are_refused(engines: Engines, crowd: Path, few: list[Worker]) -> None:
    for change in (lambda path: path.write_bytes(b"more than there was" * 9000), os.unlink):
        engine = engines()
        artifact = Artifact("data", "dataset")
        artifact.add_dir(crowd)
        victim = crowd / "b" / "c d" / "0149 ü"
        change(victim)
        few.clear()
        with pytest.raises(ConflictError) as caught:
            engine.log(artifact)
        assert caught.value.where == str(victim)
        assert len(few) == 2
        assert gone(few)


def test_damaged_pack_is_not_delivered(engines: Engines, crowd: Path, few: list[Worker], tmp_path: Path) -> None:
    engine = engines()
    logged = put(engine, crowd)
    entry = max((item for item in logged.manifest if item.path.startswith("b/c d/")), key=lambda item: item.size)
    pack, offset, _ = entry.parts[0]
    path = engine.blobs.local_path(pack)
    assert path
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.seek(offset + 1)
        flipped = file.read(1)[0] ^ 1
        file.seek(offset + 1)
        file.write(bytes([flipped]))
    few.clear()
    with pytest.raises(IntegrityError, match="c d"):
        logged.checkout(tmp_path / "out")
    assert len(few) == 2
    assert gone(few)
    whole = content(crowd)
    for name, data in content(tmp_path / "out").items():
        assert data == whole[name]


def test_one_processor_and_other_programs_start_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert workers.start_workers("blake3", 4) == []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr("sys.executable", "/usr/bin/uwsgi")
    assert workers.start_workers("blake3", 4) == []


def test_requests(tmp_path: Path) -> None:
    """Answers come in order, each with its own content, however many are under way."""
    noise = random.Random(1)
    files = []
    for index in range(200):
        path = tmp_path / f"{index}"
        path.write_bytes(noise.randbytes(noise.randrange(20_000)))
        files.append((str(path), path.stat().st_size))
    item = Worker("blake3")
    try:
        batches = [files[start : start + 10] for start in range(0, 200, 10)]
        for turn in range(0, len(batches), PLACES):
            for batch in batches[turn : turn + PLACES]:
                item.read(batch)
            assert item.waiting == len(batches[turn : turn + PLACES])
            for batch in batches[turn : turn + PLACES]:
                (signatures, digests), found = item.end()
                start = 0
                for (path, size), seen, digest in zip(batch, signatures, digests, strict=True):
                    assert seen == signature(os.stat(path))
                    assert f"blake3:{digest}" == digest_of(Path(path).read_bytes())
                    assert found[start : start + size] == Path(path).read_bytes()
                    start += size
        item.read([(str(tmp_path / "none"), 5), (files[0][0], files[0][1] - 1), (str(tmp_path), 0), files[1]])
        (signatures, digests), _ = item.end()
        assert (
            [bool(digest) for digest in digests] == [bool(seen) for seen in signatures] == [False, False, False, True]
        )
        assert files[1][1] < ROOM
    finally:
        item.stop()
    with pytest.raises(WORKER_FAILURES):
        item.read(files[:1])


def test_worker_ends_with_its_parent() -> None:
    """A worker whose parent is killed reads the end of its requests."""
    item = Worker("blake3")
    assert item._process.stdin
    item._process.stdin.close()
    assert item._process.wait(10) == 0
    item.stop()


def test_write_leaves_what_is_in_the_way(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.write_bytes(b"onetwothree")
    (tmp_path / "two").write_bytes(b"old")
    ranges = [
        (str(pack), 0, 6, [_file(b"one", 0, tmp_path / "one"), _file(b"two", 3, tmp_path / "two")]),
        (str(pack), 6, 11, [_file(b"three", 6, tmp_path / "three"), _file(b"other", 6, tmp_path / "other")]),
        (str(tmp_path / "lost"), 0, 1, [_file(b"o", 0, tmp_path / "lost one"), _file(b"", 1, tmp_path / "empty")]),
        (str(pack), 0, 3, [_file(b"one", 0, tmp_path / "no folder" / "one")]),
    ]
    from blake3 import blake3

    assert worker.write(memoryview(b""), blake3, 0, ranges) == [1, 3, 4, 6]
    assert content(tmp_path) == {
        "pack": b"onetwothree", "one": b"one", "two": b"old", "three": b"three", "empty": b""
    }  # fmt: skip


def _file(data: bytes, offset: int, path: Path) -> tuple[int, int, str, str]:
    return offset, len(data), digest_of(data).partition(":")[2], str(path)
