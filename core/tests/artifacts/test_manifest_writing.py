"""A manifest is the same whether its leaves were known or not, and those that are known are not made again."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from windlass.artifacts import manifest_writing
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.files import Source
from windlass.artifacts.manifest import Entry, Row
from windlass.artifacts.manifest_writing import KnownRows, write_manifest
from windlass.artifacts.statcache import StatCache
from windlass.errors import StorageError

LATER = 2**62


@pytest.fixture(autouse=True)
def small_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_LEAF_MIN": 4, "_LEAF_MAX": 40, "_LEAF_MASK": 7, "_LEAF_STEP": 6}.items():
        monkeypatch.setattr(manifest_writing, name, value)


class Files:
    """Files that exist in a stat cache only, and entries; they come, go and change by chance."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.cache = StatCache(folder, "scope")
        self.items: dict[str, Source | Entry] = {}

    def change(self) -> None:
        path = f"{self.chance.randrange(300):03}"
        digest = f"blake3:{self.chance.randrange(5):064x}"
        size = self.chance.randrange(3)
        parts = ((f"blake3:{self.chance.randrange(3):064x}", self.chance.randrange(4), size),)
        parts = self.chance.choice([(), parts, parts * 2])
        what = self.chance.random()
        if what < 0.3:
            self.items.pop(path, None)
        elif what < 0.5:
            self.items[path] = Entry(path, digest, size, parts, "", self.chance.choice([None, {"k": 1}]))
        else:
            signature = b"".join(number.to_bytes(8, "little") for number in (1, 2, size, 3, 4))
            extra: dict[str, object] | None = self.chance.choice([None, None, {"k": 1}])
            source = Source(path, self.chance.choice(["/a", "/b"]), signature, "", extra)
            self.items[path] = source
            self.cache.remember(source, digest, parts, LATER)

    def ordered(self) -> list[Source | Entry]:
        return [self.items[path] for path in sorted(self.items)]

    def write(self) -> int:
        """Write the manifest in both ways; how many leaves were not made."""
        items, plain, known = self.ordered(), dict[str, bytes](), dict[str, bytes]()
        expected = write_manifest(self.cache.rows(items), plain.__setitem__)
        assert write_manifest(KnownRows(self.cache, items), known.__setitem__) == expected
        assert known.items() <= plain.items()
        return len(plain) - len(known)


@pytest.mark.parametrize("seed", range(20))
def test_the_same_manifest_with_known_leaves(tmp_path: Path, seed: int) -> None:
    files = Files(tmp_path, seed)
    for _ in range(400):
        files.change()
    files.write()
    saved = 0
    for _ in range(20):
        for _ in range(files.chance.choice([1, 1, 2, 30])):
            files.change()
        saved += files.write()
    assert saved


def test_only_the_changed_leaf_is_made(tmp_path: Path) -> None:
    files = Files(tmp_path, 1)
    for _ in range(600):
        files.change()
    files.write()
    made: list[str] = []

    class Told(KnownRows):
        def begin(self, first: int) -> Iterator[Row]:
            for row in super().begin(first):
                made.append(row.path)
                yield row

    path = sorted(files.items)[30]
    files.items[path] = Entry(path, "blake3:" + "e" * 64, 1)
    items = files.ordered()
    written = write_manifest(Told(files.cache, items), lambda digest, data: None)
    assert path in made
    assert len(made) < len(items) / 3
    assert written == write_manifest(files.cache.rows(items), lambda digest, data: None)


def test_damage_and_absence_make_nothing_known(tmp_path: Path) -> None:
    files = Files(tmp_path, 2)
    for _ in range(400):
        files.change()
    files.write()
    assert KnownRows(files.cache, files.ordered()).blobs
    kept = next(tmp_path.iterdir())
    data = kept.read_bytes()
    for place in (10, len(data) // 2, len(data) - 1):
        kept.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert not KnownRows(files.cache, files.ordered()).blobs
    kept.write_bytes(b"")
    assert not KnownRows(files.cache, files.ordered()).blobs
    assert not KnownRows(StatCache(None, "scope"), list[Source | Entry]()).blobs


def test_a_leaf_that_was_lost_is_stored_again(engine: ArtifactEngine, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for index in range(200):
        (data / f"{index:03}").write_text(str(index))

    def log() -> Artifact:
        artifact = Artifact("many", "dataset")
        artifact.add_dir(data)
        return engine.log(artifact)

    log()
    for name in ("199", "001"):
        (data / name).write_text(f"new {name}")
        manifest = log().manifest
        leaves = manifest.leaf_digests()
        assert len(leaves) > 2
        engine.blobs.delete(leaves[:-1])
    (data / "002").write_text("newer")
    assert [entry.path for entry in log().manifest] == sorted(path.name for path in data.iterdir())


def test_the_last_leaf_alone_goes_into_the_root(tmp_path: Path) -> None:
    files = Files(tmp_path, 3)
    for _ in range(400):
        files.change()
    files.items = {path: item for path, item in files.items.items() if item.root == "/a"}  # what is known is by folder
    files.write()
    items = files.ordered()
    first = max(index for index in range(len(items)) if KnownRows(files.cache, items).known(index))
    files.items = {item.path: item for item in items[first:]}
    assert files.write() == 0


def test_leaves_are_sent_side_by_side_and_the_root_behind_them(
    engine: ArtifactEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a store that answers late; a leaf that cannot be stored leaves no root and no version."""
    store, lock = type(engine.blobs), threading.Lock()
    put, stored, at_once, most, broken = engine.blobs.put_buffer, list[str](), 0, 0, False

    def slow(digest: str, data: memoryview) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1
            stored.append(digest)
            if broken and len(stored) == 2:
                raise StorageError("the disk is broken")
        put(digest, data)

    monkeypatch.setattr(store, "remote", True)
    monkeypatch.setattr(engine.blobs, "put_buffer", slow)
    folder = tmp_path / "data"
    folder.mkdir()
    for index in range(100):
        (folder / f"{index}").write_text(f"{index}")

    def make() -> Artifact:
        artifact = Artifact("many", "dataset")
        artifact.add_dir(folder)
        return engine.log(artifact)

    logged = make()
    manifest = logged.manifest
    assert most > 1
    leaves = manifest.leaf_digests()
    assert len(leaves) > 4
    assert set(leaves) <= set(stored[:-1])
    assert stored[-1] == logged.info.manifest

    for index in range(0, 100, 9):  # other leaves, of which one cannot be stored
        (folder / f"{index}").write_text("new")
    stored.clear()
    broken = True
    with pytest.raises(StorageError, match="the disk is broken"):
        make()
    assert engine.get("many").version == "v0"
    monkeypatch.setattr(engine.blobs, "put_buffer", put)
    assert make().version == "v1"
