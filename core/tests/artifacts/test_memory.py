"""Objects that pass between memory and the blob store without a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from windlass.artifacts import memory
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.draft import Draft
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.memory import Pieces, read_into_memory
from windlass.artifacts.objects import add_object
from windlass.errors import IntegrityError, UsageError


class Holder:
    """Gives its bytes as buffers, as arrays do."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        from pickle import PickleBuffer

        return Holder, (PickleBuffer(self.data),)


def borrowed(engine: ArtifactEngine, obj: Any) -> Artifact:
    artifact = Artifact("objects", "dataset")
    path = add_object(engine.app, artifact.draft, obj, "thing", serializer="pickle", borrow=True)
    assert isinstance(artifact.draft.items[path], Pieces)
    return engine.log(artifact)


@pytest.mark.parametrize("size", [10, 200_000, 5_000_000, 40_000_000])
def test_there_and_back(engine: ArtifactEngine, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windlass.artifacts.objects.tempfile", None)  # no file is made
    data = bytearray(os.urandom(min(size, 1 << 20)) * (size // (1 << 20) + 1))[:size]
    logged = borrowed(engine, Holder(data))
    assert bytes(logged.get("thing").data) == data
    again = borrowed(engine, Holder(data))
    assert (again.version, again.new_version) == ("v0", False)
    monkeypatch.undo()
    copied = Artifact("objects", "dataset")
    copied.add(Holder(data), "thing", serializer="pickle")
    assert engine.log(copied).version == "v0"  # the same bytes as through a file


def test_an_object_that_is_added_may_be_changed_afterwards(engine: ArtifactEngine) -> None:
    for size in (10_000, 3_000_000):
        data = bytearray(size)
        artifact = Artifact(f"objects-{size}", "dataset")
        artifact.add(Holder(data), "thing", serializer="pickle")
        data[:] = b"x" * size
        engine.log(artifact)
        assert bytes(engine.get(artifact.name).get("thing").data) == bytes(size)


def test_a_long_stream_goes_through_a_file(engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windlass_serializer_pickle.serializer._HELD", 1000)
    draft = Draft()
    path = add_object(engine.app, draft, list(range(10_000)), "thing", serializer="pickle", borrow=True)
    assert not isinstance(draft.items[path], Pieces)


def test_what_does_not_fit_into_memory_is_read_from_a_file(
    engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windlass.artifacts.objects.fits_in_memory", lambda _size: False)
    assert bytes(borrowed(engine, Holder(b"x" * 100_000)).get("thing").data) == b"x" * 100_000
    assert memory.fits_in_memory(1 << 20)
    assert not memory.fits_in_memory(1 << 60)


@pytest.mark.parametrize("size", [5_000, 5_000_000, 40_000_000])
def test_damage_is_found_before_anything_is_made_of_it(engine: ArtifactEngine, size: int) -> None:
    borrowed(engine, Holder(os.urandom(size)))
    blobs = [path for path in Path(engine.settings.home, "blobs").rglob("*") if path.is_file()]
    victim = max(blobs, key=lambda path: path.stat().st_size)
    whole = victim.read_bytes()
    for broken in (bytes([whole[0] ^ 1]) + whole[1:], whole[:-1], whole + b"x"):
        victim.chmod(0o644)
        victim.write_bytes(broken)
        if len(broken) > len(whole) and size > 16 << 20:
            continue  # only the range that belongs to the part is read
        with pytest.raises(IntegrityError):
            engine.get("objects").get("thing")


def test_one_path_with_other_content_is_refused() -> None:
    draft = Draft()
    draft.add_buffers([b"a", memoryview(b"bc")], "x", overwrite=False)
    draft.add_buffers([b"abc"], "x", overwrite=False)
    with pytest.raises(UsageError, match="other content"):
        draft.add_buffers([b"abd"], "x", overwrite=False)


def test_a_stream_of_another_size(engine: ArtifactEngine) -> None:
    import io

    from windlass.artifacts.digest import digest_of
    from windlass.artifacts.manifest import Entry

    entry = Entry("x", digest_of(b"abc"), 3, (), "", None)
    for data, size in ((b"ab", 2), (b"abc", 3), (b"abcd", 4)):
        view, count, _ = read_into_memory(io.BytesIO(data), entry)
        assert (bytes(view), count) == (data[:3], size)
