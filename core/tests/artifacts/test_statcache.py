"""What is remembered of files: exactly what was told, or nothing."""

import os
from pathlib import Path

import pytest

from windlass.artifacts.digest import artifact_digest
from windlass.artifacts.files import Source, signature, walk
from windlass.artifacts.manifest import Entry, Row, row_of
from windlass.artifacts.statcache import StatCache

DIGEST = "blake3:" + "ab" * 32
LATER = 2**62  # a time at which nothing is racy any more


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    folder = tmp_path / "data"
    for index in range(5):
        file = folder / f"{index % 2}" / f"{index}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * index)
    return sorted(walk(str(folder), "at/"), key=lambda source: source.path)


def filled(folder: Path, sources: list[Source]) -> StatCache:
    cache = StatCache(folder, "scope")
    for index, source in enumerate(sources):
        parts = tuple((f"blob{index // 2}", number, index) for number in range(index))
        cache.remember(source, f"{DIGEST[:-1]}{index}", parts, LATER)
    cache.save()
    return cache


def test_a_source_knows_its_file(sources: list[Source]) -> None:
    for source in sources:
        found = os.stat(source.file)
        assert (source.size, source.signature) == (found.st_size, signature(found))
        assert source.path == "at/" + source.below


def test_all_is_read_back(tmp_path: Path, sources: list[Source]) -> None:
    before = filled(tmp_path / "stat", sources)
    after = StatCache(tmp_path / "stat", "scope")
    for source in sources:
        known = after.entry(source)
        assert known is not None
        assert known == before.entry(source)
        assert after.entry(Source(source.path, source.root, bytes(40), source.name)) is None
    assert StatCache(tmp_path / "stat", "other scope").entry(sources[0]) is None


def test_a_change_leaves_the_others(tmp_path: Path, sources: list[Source]) -> None:
    old = filled(tmp_path / "stat", sources)
    cache = StatCache(tmp_path / "stat", "scope")
    cache.remember(sources[0], DIGEST, (("another", 1, 2),), LATER)
    cache.remember(sources[1], DIGEST, (), 0)  # racy: forgotten
    cache.save()
    again = StatCache(tmp_path / "stat", "scope")
    first = again.entry(sources[0])
    assert first is not None
    assert first.parts == (("another", 1, 2),)
    assert again.entry(sources[1]) is None
    assert [again.entry(source) for source in sources[2:]] == [old.entry(source) for source in sources[2:]]


def test_blobs_that_nothing_names_are_forgotten(tmp_path: Path, sources: list[Source]) -> None:
    folder = tmp_path / "stat"
    filled(folder, sources)
    for number in range(2):
        cache = StatCache(folder, "scope")
        cache.remember(sources[0], DIGEST, tuple((f"{number}-{part}", 0, 1) for part in range(5000)), LATER)
        cache.save()
    large = sum(file.stat().st_size for file in folder.iterdir())
    for _ in range(2):
        cache = StatCache(folder, "scope")
        cache.remember(sources[0], DIGEST, (("one", 0, 1),), LATER)
        cache.save()
    assert sum(file.stat().st_size for file in folder.iterdir()) < large / 20
    known = StatCache(folder, "scope").entry(sources[4])
    assert known is not None
    assert known.parts == tuple(("blob2", number, 4) for number in range(4))


def test_damage_is_never_taken_for_knowledge(tmp_path: Path, sources: list[Source]) -> None:
    folder = tmp_path / "stat"
    right = filled(folder, sources)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    damaged = [whole[:end] for end in range(0, len(whole), 7)]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 5)]
    for data in damaged:
        file.write_bytes(data)
        cache = StatCache(folder, "scope")
        for source in sources:
            assert cache.entry(source) in (None, right.entry(source))


def test_a_listing_is_known_by_all_of_its_files(tmp_path: Path, sources: list[Source]) -> None:
    cache = filled(tmp_path / "stat", sources)
    assert cache.listing(sources) == ""
    cache.remember_listing(DIGEST)
    assert StatCache(tmp_path / "stat", "scope").listing(sources) == DIGEST
    assert cache.listing(sources[1:]) == ""
    touched = Source(sources[0].path, sources[0].root, bytes(40), sources[0].name)
    assert cache.listing([touched, *sources[1:]]) == ""
    cache.remember(touched, DIGEST, (), 0)  # racy, so the listing is not remembered either
    cache.remember_listing(DIGEST)
    assert cache.listing([touched, *sources[1:]]) == ""


def test_files_that_are_gone_are_forgotten_in_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    kept = Source("kept", str(folder), bytes(16) + (7).to_bytes(8, "little") + bytes(16))
    (folder / "kept").touch()
    for start in range(0, 12_000, 1_000):
        cache = StatCache(tmp_path / "stat", "scope")
        for index in range(start, start + 1_000):
            cache.remember(Source(f"gone-{index}", str(folder), kept.signature), DIGEST, (), LATER)
        cache.remember(kept, DIGEST, (("pack", 3, 7),), LATER)
        cache.save()
    (file,) = (tmp_path / "stat").iterdir()
    data = file.read_bytes()
    assert data.count(b"gone-") < 9_000
    entry = StatCache(tmp_path / "stat", "scope").entry(kept)
    assert entry is not None
    assert entry.parts == (("pack", 3, 7),)


def test_rows_of_a_manifest_in_any_order(tmp_path: Path, sources: list[Source]) -> None:
    by_size = sorted(sources, key=lambda source: source.size)
    filled(tmp_path / "stat", by_size)
    cache = StatCache(tmp_path / "stat", "scope")
    cache.remember(by_size[2], DIGEST, (("whole-one", 5, 2),), LATER)
    stored = Entry("above", DIGEST, 3, (("x", 0, 3),), extra={"object": {"serializer": "json"}})
    items: list[Source | Entry] = [by_size[4], stored, by_size[0], by_size[2]]
    assert cache.look_up(items) == ([], {"x", "blob2", f"{DIGEST[:-1]}0", "whole-one"})
    value = bytes.fromhex(DIGEST[7:-1] + "4")
    rows = list(cache.rows(items))
    assert rows[0] == Row("at/0/4", value, 4, ["blob2", 0, 4, "blob2", 1, 4, "blob2", 2, 4, "blob2", 3, 4])
    assert rows[1] == row_of(stored, "blake3")
    assert rows[2].parts == []
    assert rows[3] == Row(by_size[2].path, bytes.fromhex(DIGEST[7:]), 2, ["whole-one", 5, 2])
    by_path = sorted(items, key=lambda item: item.path)
    entries = [Entry(row.path, f"blake3:{row.digest.hex()}", row.size, extra=row.extra) for row in rows]
    assert cache.artifact_digest(by_path) == artifact_digest(sorted(entries, key=lambda entry: entry.path))
    touched = Source(by_size[4].path, by_size[4].root, bytes(40), by_size[4].name)
    new = Source("new", by_size[4].root, bytes(40))
    assert cache.look_up([touched, by_size[1], new]) == ([touched, new], {"blob0"})
