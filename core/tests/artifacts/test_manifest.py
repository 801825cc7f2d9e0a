import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.artifacts.digest import digest_of
from windlass.artifacts.manifest import Entry, Manifest, row_of
from windlass.artifacts.manifest_writing import write_manifest
from windlass.blobs import BlobInfo, BlobStore
from windlass.errors import ArtifactNotFoundError, IntegrityError


class Blobs(BlobStore):
    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.read: list[str] = []

    def missing(self, digests: Iterable[str]) -> set[str]:
        return {digest for digest in digests if digest not in self.data}

    def put(self, digest: str, source: str | bytes) -> None:
        assert isinstance(source, bytes)
        self.data[digest] = source

    def open(self, digest: str, start: int = 0, length: int = -1) -> BinaryIO:
        self.read.append(digest)
        return io.BytesIO(self.data[digest])

    def delete(self, digests: Iterable[str]) -> None: ...

    def list(self) -> Iterator[BlobInfo]:
        return iter(())


def written(entries: list[Entry], blobs: Blobs, algorithm: str = "blake3") -> str:
    stored = write_manifest((row_of(entry, algorithm) for entry in entries), blobs.put, algorithm)
    assert stored.size == sum(entry.size for entry in entries if entry.size > 0)
    return stored.digest


def entry(path: str, **changes: object) -> Entry:
    facts = {"digest": digest_of(path.encode()), "size": len(path), **changes}
    return Entry(path, **facts)  # type: ignore[arg-type]


PATHS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20)
BLOBS = st.sampled_from([digest_of(b"1"), digest_of(b"2", "sha256")])
PARTS = st.lists(st.tuples(BLOBS, st.integers(0), st.integers(0, 99)), max_size=4)


@given(st.dictionaries(PATHS, PARTS, max_size=30), st.sampled_from(["blake3", "sha256"]))
def test_round_trip(paths: dict[str, list[tuple[str, int, int]]], algorithm: str) -> None:
    entries = [
        entry(path, parts=tuple((b, o % 2**40, n) for b, o, n in parts), extra={"k": [1, None]} if parts else None)
        for path, parts in sorted(paths.items())
    ]
    blobs = Blobs()
    found = Manifest(blobs, written(entries, blobs, algorithm))
    assert list(found) == entries
    assert len(found) == len(entries)
    assert found.size == sum(item.size for item in entries)
    for item in entries:
        assert found[item.path] == item
        assert found.find(item.path + "\x01") == next((e for e in entries if e.path == item.path + "\x01"), None)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 9000), st.sampled_from(["d/1", "d/12", "d", "", "e", "d/8999"]))
def test_prefix_is_a_folder(count: int, prefix: str) -> None:
    entries = sorted((entry(f"d/{i}/f") for i in range(count)), key=lambda e: e.path)
    blobs = Blobs()
    found = Manifest(blobs, written(entries, blobs))
    expected = [e for e in entries if not prefix or e.path == prefix or e.path.startswith(prefix + "/")]
    assert list(found.iterate(prefix)) == expected
    assert list(found.starting(prefix)) == [e for e in entries if e.path.startswith(prefix)]


def test_one_entry_of_many_reads_two_blobs() -> None:
    entries = [entry(f"data/{i:07}.bin") for i in range(100_000)]
    blobs = Blobs()
    digest = written(entries, blobs)
    assert Manifest(blobs, digest)["data/0077777.bin"] == entries[77777]
    assert len(blobs.read) == 2


def test_versions_share_leaves() -> None:
    entries = [entry(f"data/{i:07}.bin") for i in range(100_000)]
    blobs = Blobs()
    written(entries, blobs)
    before = set(blobs.data)
    entries[50_000] = entry("data/0050000.bin", size=12345)
    del entries[70_000]
    written(entries, blobs)
    assert len(set(blobs.data) - before) <= 3


def test_unknown_entry_names_neighbours() -> None:
    blobs = Blobs()
    found = Manifest(blobs, written([entry("d/a"), entry("d/b")], blobs))
    with pytest.raises(ArtifactNotFoundError, match="d/c") as caught:
        found["d/c"]
    assert "d/a" in str(caught.value)


@pytest.mark.parametrize("count", [3, 5000])
def test_every_flipped_byte_is_found(count: int) -> None:
    entries = [entry(f"{i:05}") for i in range(count)]
    blobs = Blobs()
    digest = written(entries, blobs)
    for name, data in list(blobs.data.items()):
        for place in range(0, len(data), max(len(data) // 20, 1)):
            blobs.data[name] = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            with pytest.raises(IntegrityError):
                list(Manifest(blobs, digest))
        blobs.data[name] = data


def test_newer_format_is_refused() -> None:
    import msgspec

    blobs = Blobs()
    data = msgspec.msgpack.encode({"format": 3, "algorithm": "blake3", "entries": 0, "size": 0})
    blobs.put(digest_of(data), data)
    with pytest.raises(IntegrityError, match="newer"):
        Manifest(blobs, digest_of(data))


def test_documented_vectors() -> None:
    """The vectors of docs/reference/blob-store.md."""
    from windlass.artifacts.digest import artifact_digest

    pack = digest_of(b"helloworld")
    entries = [
        Entry("a.txt", digest_of(b"hello"), 5),
        Entry("b/c.txt", digest_of(b"world"), 5, ((pack, 5, 5),)),
        Entry("r", "etag:abc", 3, (), "s3://b/k", {"etag": "abc"}),
    ]
    blobs = Blobs()
    assert written(entries, blobs) == "blake3:37f40b99b3f89de8e086efe12634103d07135261285ea733360929d04784ea14"
    assert artifact_digest(entries) == ("blake3:5f6ef2af83bf12f78859bea449cc8cc444a09a4a41077550f4144bf3a7ce8a4e")
    assert written([], blobs) == "blake3:53fea717b9775bdd2c0c3289c671726fb759009b2c9cb08075becfea372e6c5f"


def test_an_entry_is_found_by_its_content() -> None:
    blobs = Blobs()
    made = [entry(f"{index:06}", parts=((digest_of(b"pack"), index, 6),)) for index in range(20_000)]
    made.append(entry("reference", ref="s3://b/k", digest=digest_of(b"reference")))
    manifest = Manifest(blobs, written(made, blobs))
    assert len(manifest.leaf_digests()) > 1
    assert manifest.with_digest(made[17_000].digest) == made[17_000]
    assert manifest.with_digest(digest_of(b"reference")) is None, "a reference has no bytes here"
    assert manifest.with_digest(digest_of(b"absent")) is None
    assert manifest.with_digest("etag:1") is None
