"""Blobs behind a network: few requests, the same bytes, nothing unproven delivered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.download import spans
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.manifest import Entry
from windlass.artifacts.reader import open_entry
from windlass.errors import IntegrityError
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit.simulators.gcs import GcsSimulator, gcs_bucket, gcs_server  # noqa: F401

COUNT = 400


@pytest.fixture
def engine(tmp_path: Path, gcs_bucket: str) -> Iterator[ArtifactEngine]:  # noqa: F811
    url = f"sqlite:///{tmp_path}/home/windlass.db?blobs=gs://{gcs_bucket}/blobs"
    settings = Settings.from_env(
        {
            "WINDLASS_HOME": str(tmp_path / "home"),
            "WINDLASS_BASE_URL": url,
            "WINDLASS_ENTITY": "team",
            "WINDLASS_PROJECT": "demo",
        }
    )
    app = App(settings)
    engine = ArtifactEngine(app, app.open_store(), settings)
    yield engine
    engine.cache.close()
    engine.store.close()
    app.close()


@pytest.fixture
def logged(engine: ArtifactEngine, tmp_path: Path) -> Artifact:
    noise = random.Random(3)
    folder = tmp_path / "tree"
    folder.mkdir()
    for index in range(COUNT):
        (folder / f"{index:04}").write_bytes(noise.randbytes(10_000))
    (folder / "large").write_bytes(noise.randbytes(20 << 20))
    artifact = Artifact("data", "dataset")
    artifact.add_dir(folder)
    return engine.log(artifact)


def reads(server: GcsSimulator) -> int:
    return sum("alt=media" in request for request in server.requests)


@pytest.mark.parametrize("link", ["copy", "hard"])
def test_packed_files_come_by_few_requests(
    engine: ArtifactEngine,
    logged: Artifact,
    gcs_server: GcsSimulator,  # noqa: F811
    tmp_path: Path,
    link: str,
) -> None:
    chunks = len(logged.manifest["large"].parts)
    engine.download(logged.manifest, str(tmp_path / "out"), link=link)
    assert reads(gcs_server) < chunks + 12, "a request for each file"
    logged.verify(str(tmp_path / "out"))
    before = reads(gcs_server)
    engine.download(logged.manifest, str(tmp_path / "again"), link="hard")
    if link == "hard":
        assert reads(gcs_server) - before <= 1, "what is in the cache was fetched again"


def test_a_damaged_pack_delivers_no_file_of_it(
    engine: ArtifactEngine,
    logged: Artifact,
    gcs_server: GcsSimulator,  # noqa: F811
    tmp_path: Path,
) -> None:
    victim = logged.manifest["0123"]
    blob, offset, _ = victim.parts[0]
    value = blob.partition(":")[2]
    (stored,) = gcs_server.buckets["bucket"].objects[f"blobs/blake3/{value[:2]}/{value}"]
    stored.data = stored.data[:offset] + bytes([stored.data[offset] ^ 1]) + stored.data[offset + 1 :]
    with pytest.raises(IntegrityError, match="'0123' is damaged"):
        engine.download(logged.manifest, str(tmp_path / "out"), link="copy")
    assert not (tmp_path / "out" / "0123").exists()
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".windlass-")]


def test_ranges_of_a_large_file(engine: ArtifactEngine, logged: Artifact, tmp_path: Path) -> None:
    entry = logged.manifest["large"]
    data = (tmp_path / "tree" / "large").read_bytes()
    ends = [sum(part[2] for part in entry.parts[:count]) for count in (1, 2)]
    for start, length in [(0, -1), (0, 10), (ends[0] - 1, 2), (ends[0], 5), (5, ends[1]), (len(data) - 1, 9), (9, 0)]:
        with open_entry(entry, engine.blobs, engine.app.storage_for, start, length) as stream:
            assert stream.read() == (data[start:] if length < 0 else data[start : start + length])


def test_what_lies_side_by_side_is_one_range() -> None:
    def packed(name: str, offset: int, length: int) -> Entry:
        return Entry(name, f"blake3:{name}", length, (("blake3:pack", offset, length),))

    far = 10 << 20
    files = [packed("c", far, 7), packed("a", 0, 10), packed("b", 10, 5), packed("e", 100, 0), packed("d", far + 7, 1)]
    found = [(start, end, [entry.path for entry in inside]) for start, end, inside in spans(files, 1000)]
    assert found == [(0, 100, ["a", "b", "e"]), (far, far + 8, ["c", "d"])]
