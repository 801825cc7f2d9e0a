"""Entries as open files: what is delivered is proven as far as it can be."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from windlass.artifacts import reader
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.errors import IntegrityError


def flip(engine: ArtifactEngine, digest: str, offset: int) -> None:
    path = Path(engine.blobs.local_path(digest) or "")
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("size", [0, 1, 5000, 1 << 20, (1 << 20) + 1, 3 << 20, 18 << 20])
def test_ranges_are_those_of_the_file(engine: ArtifactEngine, tmp_path: Path, size: int) -> None:
    noise = random.Random(size)
    data = noise.randbytes(size)
    (tmp_path / "f").write_bytes(data)
    artifact = Artifact("data", "t")
    artifact.add_file(tmp_path / "f")
    with engine.log(artifact).get_entry("f").open() as file:
        for _ in range(20):
            at, count = noise.randint(0, size), noise.randint(0, 70_000)
            file.seek(at)
            assert file.read(count) == data[at : at + count]
        assert file.seek(0, io.SEEK_END) == size
        assert file.read() == b""
        file.seek(0)
        assert file.read() == data


@pytest.mark.parametrize("reference", [True, False])
def test_reading_on_asks_for_few_pieces(
    engine: ArtifactEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: bool
) -> None:
    """Each is a request where the bytes are far, and the whole file from a server that knows no ranges."""
    noise = random.Random(1)
    data = noise.randbytes(12 << 20)
    (tmp_path / "f").write_bytes(data)
    artifact = Artifact("data", "t")
    if reference:
        artifact.add_reference((tmp_path / "f").as_uri())
    else:
        artifact.add_file(tmp_path / "f")
    entry = engine.log(artifact).get_entry("f")
    asked: list[int] = []
    ask = reader.open_entry

    def counted(*args: Any) -> BinaryIO:
        asked.append(args[-1])
        return ask(*args)

    monkeypatch.setattr(reader, "open_entry", counted)
    with entry.open() as file:
        assert file.read() == data
        assert len(asked) == 1
        file.seek(1000)
        assert file.read() == data[1000:]
    asked.clear()
    with entry.open() as file:
        assert b"".join(iter(lambda: file.read(100_000), b"")) == data
        assert len(asked) <= 5
        for _ in range(10):
            at = noise.randint(0, len(data))
            file.seek(at)
            for _ in range(noise.randint(1, 8)):
                assert file.read(1 << 20) == data[at : at + (1 << 20)]
                at = min(at + (1 << 20), len(data))


def test_a_flipped_bit_in_a_pack(engine: ArtifactEngine, logged: Artifact) -> None:
    entry = logged.manifest["sub/007.bin"]
    pack, offset, _ = entry.parts[0]
    flip(engine, pack, offset + 100)
    with logged.get_entry("sub/007.bin").open() as file, pytest.raises(IntegrityError, match=r"'sub/007\.bin'"):
        file.read(1)  # before the first byte is delivered
    with logged.get_entry("sub/008.bin").open() as file:
        assert len(file.read()) == 3008


def test_a_flipped_bit_in_a_chunk(engine: ArtifactEngine, logged: Artifact) -> None:
    parts = logged.manifest["large"].parts
    flip(engine, parts[1][0], 5)
    with logged.get_entry("large").open() as file:
        file.read(parts[0][2])
        with pytest.raises(IntegrityError, match=f"'large' is damaged from byte {parts[0][2]}"):
            file.read(1)


def test_a_flipped_bit_in_a_whole_file(engine: ArtifactEngine, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(3 << 20))
    artifact = Artifact("data", "t")
    artifact.add_file(tmp_path / "f")
    flip(engine, engine.log(artifact).manifest["f"].digest, 1 << 20)
    with artifact.get_entry("f").open() as file, pytest.raises(IntegrityError, match="'f' is damaged"):
        while file.read(100_000):
            pass


def test_a_reference_of_unknown_size_is_one_stream(engine: ArtifactEngine) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/unknown/a", b"abc" * 1000)
    artifact = Artifact("data", "t")
    artifact.app = engine.app
    artifact.add_reference("memory://unknown/a", checksum=False)
    with engine.log(artifact).get_entry("a").open() as file:
        assert (file.seekable(), file.read(3), file.read()) == (False, b"abc", b"abc" * 999)
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)
