from __future__ import annotations

import datetime as dt
import io
import pickle
import sys
import wave
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.manifest import row_of
from windlass.artifacts.manifest_writing import write_manifest
from windlass.artifacts.media import Audio, Graph, Html, Image, Object3D, Plotly, Video
from windlass.artifacts.table import Table
from windlass.errors import (
    AccessError,
    ArtifactNotFoundError,
    ConfigError,
    IntegrityError,
    PluginNotFoundError,
    SerializationError,
    UsageError,
)
from windlass.trust.keys import generate_key
from windlass.trust.signing import sign
from windlass.trust.statement import Subject


def there_and_back(engine: ArtifactEngine, obj: Any, **kwargs: Any) -> Any:
    artifact = Artifact("objects", "t")
    artifact.add(obj, "thing", **kwargs)
    engine.log(artifact)
    return engine.get("objects").get("thing")


@pytest.mark.parametrize("obj", [None, [1, 2.5, "x"], {"a": (1, 2)}, {1, 2}, b"\0\1", dt.date(2026, 1, 1)])
def test_python_objects(engine: ArtifactEngine, obj: Any) -> None:
    assert there_and_back(engine, obj, serializer="pickle") == obj


def test_the_record(engine: ArtifactEngine) -> None:
    artifact = Artifact("objects", "t")
    assert artifact.add([1], "thing", serializer="pickle", parameters={"protocol": 4}) == "thing.pkl"
    engine.log(artifact)
    record = artifact.get_entry("thing.pkl").extra["object"]
    assert (record["serializer"], record["versions"], record["type"]) == ("pickle", {"protocol": "4"}, "builtins.list")
    assert record["parameters"] == {"protocol": 4}
    assert record["python"]
    assert artifact["thing"] == artifact.get("thing.pkl") == [1]


def test_arrays_are_mapped(engine: ArtifactEngine) -> None:
    np = pytest.importorskip("numpy")
    array = np.arange(1_000_000)
    found = there_and_back(engine, array, serializer="pickle")
    assert np.array_equal(found, array)
    found[0] = 7  # private to this process
    assert engine.get("objects").get("thing")[0] == 0


def test_code_of_others_is_not_run(engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    there_and_back(engine, [1], serializer="pickle")
    other = ArtifactEngine(engine.app, engine.store, replace(engine.settings, entity="stranger"))
    found = other.get("team/demo/objects")
    with pytest.raises(AccessError, match="runs code"):
        found.get("thing")
    assert found.get("thing", allow_code=True) == [1]
    monkeypatch.setenv("WINDLASS_ALLOW_CODE", "1")
    assert found.get("thing") == [1]
    with pytest.raises(AccessError):
        found.get("thing", allow_code=False)


def test_another_manifest_under_the_digest(engine: ArtifactEngine) -> None:
    """Whoever can write to the index, but has no key, cannot slip in other content."""
    there_and_back(engine, [1], serializer="pickle")
    good = engine.get("objects").info
    there_and_back(engine, ["evil"], serializer="pickle")
    evil = engine.get("objects").info
    with pytest.raises(IntegrityError, match="not that of the artifact"):
        engine.wrap(replace(good, manifest=evil.manifest)).get("thing")


def test_the_same_bytes_as_an_object_are_a_new_version(engine: ArtifactEngine) -> None:
    """Otherwise what was added as an object could not be got back as one."""
    plain = Artifact("objects", "t")
    with plain.new_file("thing.json") as file:
        file.write("[1]")
    engine.log(plain)
    there = Artifact("objects", "t")
    there.add([1], "thing", serializer="json")
    engine.log(there)
    assert [entry.digest for entry in there.entries()] == [entry.digest for entry in plain.entries()]
    assert there.version == "v1"
    assert engine.get("objects").get("thing") == [1]
    (entry,) = there.entries()
    record = (entry.extra or {})["object"] | {"python": "3.99.0", "versions": {"json": "9"}}
    told = Artifact("objects", "t")
    told.draft.items[entry.path] = msgspec.structs.replace(entry, extra={"object": record})
    assert engine.log(told).version == "v1", "which versions wrote them decides nothing"


def test_another_record_of_signed_bytes(engine: ArtifactEngine, tmp_path: Path) -> None:
    """Whoever can write to the store, but has no key, cannot have signed bytes read by another serializer."""
    key = generate_key(tmp_path / "key.pem")
    home = engine.settings.home
    home.mkdir(exist_ok=True)
    (home / "trust.yaml").write_text(
        "require-signature: true\ntrusted-keys:\n"
        f"  - {{name: ann, public-key: {tmp_path}/key.pem.pub, entities: [team]}}\n"
    )
    made = Artifact("objects", "t")
    with made.new_file("notes.pkl", "xb") as file:  # somebody's bytes, kept as a file
        file.write(pickle.dumps([1]))
    good = engine.log(made).info
    record = {"kind": "python", "name": "notes", "serializer": "pickle"}
    entries = [msgspec.structs.replace(entry, extra={"object": record}) for entry in engine.wrap(good).entries()]
    rows = [row_of(entry, engine.algorithm) for entry in entries]
    forged = replace(good, manifest=write_manifest(rows, engine.blobs.put).digest)
    signature = sign(Subject.of(good), key)
    with pytest.raises(IntegrityError, match="manifest is"):
        engine.wrap(replace(forged, signatures=(signature,))).get("notes")
    with pytest.raises(UsageError, match="is a file"):
        engine.wrap(replace(good, signatures=(signature,))).get("notes.pkl")


def test_other_versions_warn(engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.99.1")
    artifact = Artifact("objects", "t")
    artifact.add([1], "thing", serializer="pickle")
    engine.log(artifact)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match=r"Python 3\.99\.1"):
        assert artifact.get("thing") == [1]


def test_missing_and_plain(engine: ArtifactEngine) -> None:
    artifact = Artifact("objects", "t")
    with artifact.new_file("plain") as file:
        file.write("x")
    with pytest.raises(PluginNotFoundError):
        artifact.add([1], "thing", serializer="nope")
    engine.log(artifact)
    with pytest.raises(UsageError, match="not an object"):
        artifact.get("plain")
    with pytest.raises(ArtifactNotFoundError, match="thing"):
        artifact.get("thing")


def wav() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(100))
    return buffer.getvalue()


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)
MEDIA = [
    Image(PNG, caption="a dot", boxes={"g": {"x": [0, 1]}}),
    Html("<b>bold</b>"),
    Audio(wav(), sample_rate=8000),
    Video(b"not really", format="webm", fps=25.0),
    Object3D([[0, 0, 0], [1, 2, 3]], caption="points"),
    Graph([{"id": 1, "op": "relu"}, {"id": 2}], [(1, 2)]),
    Plotly({"data": [{"y": [1, 2]}], "layout": {}}),
    Table(columns=["a", "b"], data=[[1, "x"], [None, "ü"]]),
]


@pytest.mark.parametrize("media", MEDIA, ids=lambda media: type(media).__name__)
def test_media_come_back_as_what_they_were(engine: ArtifactEngine, media: Any) -> None:
    found = there_and_back(engine, media)
    assert type(found) is type(media)
    assert found == media


def frames(height: int = 6, width: int = 9) -> Any:
    """Three frames, each of one colour: red, green, blue."""
    np = pytest.importorskip("numpy")
    made = np.zeros((3, 3, height, width), np.uint8)
    for index in range(3):
        made[index, index] = 250
    return made


def test_films_of_frames_as_gif(engine: ArtifactEngine) -> None:
    pillow = pytest.importorskip("PIL.Image")
    film = Video(frames(), caption="colours", fps=10)
    assert (film.extension, film.fps, film.data) == (".gif", 10, Video(frames() / 255, fps=10, format="gif").data)
    found = there_and_back(engine, film)
    assert found == film
    picture = pillow.open(io.BytesIO(found.data))
    assert (picture.n_frames, picture.size, picture.info["duration"]) == (3, (9, 6), 100)
    for index in range(3):
        picture.seek(index)
        assert [value > 200 for value in picture.convert("RGB").getpixel((0, 0))] == [i == index for i in range(3)]
    gray = Video(frames()[:, 0])
    assert (gray.fps, pillow.open(io.BytesIO(gray.data)).size) == (4, (9, 6))


@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_films_of_frames(engine: ArtifactEngine, format: str) -> None:
    av = pytest.importorskip("av")
    film = Video(frames(33, 48), fps=12.5, format=format)
    assert film.data == Video(frames(33, 48).transpose(0, 2, 3, 1), fps=12.5, format=format).data
    found = there_and_back(engine, film)
    assert (found == film, found.extension, found.fps) == (True, f".{format}", 12.5)
    with av.open(io.BytesIO(found.data)) as container:
        seen = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate) == 12.5
    assert [frame.shape for frame in seen] == [(34, 48, 3)] * 3
    for index, frame in enumerate(seen):
        assert [value > 128 for value in frame[10, 10]] == [i == index for i in range(3)]


def test_what_is_no_film(monkeypatch: pytest.MonkeyPatch) -> None:
    np = pytest.importorskip("numpy")
    for shape, said in (((2, 2), "is no film"), ((1, 2, 3, 4, 5), "several films"), ((0, 3, 2, 2), "is no film")):
        with pytest.raises(UsageError, match=said):
            Video(np.zeros(shape))
    with pytest.raises(UsageError, match="cannot be encoded as 'ogg'"):
        Video(frames(), format="ogg")
    with pytest.raises(UsageError, match="frames per second"):
        Video(frames(), fps=-1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match="need PyAV") as caught:
        Video(frames(), format="mp4")
    assert "windlass-core[media]" in caught.value.hint
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match="need Pillow"):
        Video(frames())


def test_the_same_media_is_no_new_version(engine: ArtifactEngine) -> None:
    for _ in range(2):
        there_and_back(engine, Image(PNG))
    assert engine.get("objects").version == "v0"


def test_tables_hold_special_cells(engine: ArtifactEngine) -> None:
    np = pytest.importorskip("numpy")
    row = [
        dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC),
        b"\0\xff",
        float("nan"),
        float("inf"),
        np.float32(0.5),
        np.arange(6).reshape(2, 3),
        Image(PNG, caption="in a cell"),
        {"_type": "mine", "x": [1]},
        [1, None],
    ]
    table = Table(columns=list("abcdefghi"), data=[row])
    found = there_and_back(engine, table)
    assert found == table
    assert found.data[0][5].dtype == row[5].dtype


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_data_frames(engine: ArtifactEngine, kind: str) -> None:
    library = pytest.importorskip(kind)
    pytest.importorskip("pyarrow.parquet")
    columns = {"n": [1, 2, 3], "t": ["a", None, "ü"], "f": [0.5, 1.5, 2.5]}
    frame = library.table(columns) if kind == "pyarrow" else library.DataFrame(columns)
    table = Table(dataframe=frame)
    found = there_and_back(engine, table)
    assert found.columns == ["n", "t", "f"]
    again = found.get_dataframe()
    assert type(again) is type(frame)
    assert again.equals(frame)
    assert found.get_column("n") == [1, 2, 3]


def test_frames_that_parquet_cannot_hold(engine: ArtifactEngine) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    mixed = pd.DataFrame({"x": [1, "a", None]})
    found = there_and_back(engine, Table(dataframe=mixed))
    assert found.data == [[1], ["a"], [None]]
    assert list(found.get_dataframe()["x"]) == [1, "a", None]
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert there_and_back(engine, Table(dataframe=twice)).get_dataframe().equals(twice)
    with pytest.raises(UsageError, match="an index"):
        there_and_back(engine, Table(dataframe=mixed.set_index(pd.Index(["p", "q", "r"]))))


def test_table_rules() -> None:
    table = Table(columns=["a", "b"])
    table.add_data(1, 2)
    with pytest.raises(UsageError, match="1 cells"):
        table.add_data(1)
    table.add_column("c", [3])
    with pytest.raises(UsageError):
        table.add_column("d", [1, 2])
    assert list(table.iterrows()) == [(0, [1, 2, 3])]
    with pytest.raises(UsageError, match="no column"):
        table.get_column("z")


def test_media_from_files(engine: ArtifactEngine, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PNG)
    found = there_and_back(engine, Image(str(tmp_path / "dot.png")))
    assert found.data == PNG
    with pytest.raises(UsageError, match="no such file"):
        Image(str(tmp_path / "none.png"))
    with pytest.raises(UsageError, match="extension"):
        Image(b"", format="exe")


def test_pickle_is_the_last_resort(engine: ArtifactEngine) -> None:
    value = {"when": dt.date(2026, 1, 1), "set": {1}}
    artifact = Artifact("objects", "t")
    path = artifact.add(value, "thing")
    engine.log(artifact)
    assert path == "thing.pkl"
    assert artifact.get("thing") == value
    with pytest.raises(SerializationError):
        Artifact("objects", "t").add(value, "thing", serializer="json")


def test_data_formats_do_not_warn_of_python(
    engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.99.1")
    artifact = Artifact("objects", "t")
    artifact.add([1], "thing", serializer="json")
    engine.log(artifact)
    monkeypatch.undo()
    assert artifact.get("thing") == [1]
    assert not recwarn.list


def test_what_a_run_logs_comes_back(engine: ArtifactEngine) -> None:
    from windlass.sdk.outputs import make_artifact

    for serializer in ("", "pickle"):
        made = make_artifact(
            {"a": 1}, name="thing", type="", serializer=serializer, run_id="r", app=engine.app, parameters=None
        )
        assert made.metadata["serializer"] == serializer or not serializer
        assert engine.log(made).get("thing") == {"a": 1}
    with pytest.raises(ConfigError):
        make_artifact([1], name="x", type="", serializer="pickle", run_id="r", app=engine.app, parameters={"nope": 1})
