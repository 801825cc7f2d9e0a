"""What becomes of arrays, pictures and numbers in media: the same values, or a clear error."""

from __future__ import annotations

import contextlib
import io
import sys
import wave
from typing import Any

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.encoding import encoded_sound, encoded_video
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.media import Audio, Graph, Html, Image, Object3D, Plotly, Video
from windlass.errors import UsageError

np = pytest.importorskip("numpy")
pillow = pytest.importorskip("PIL.Image")


def there_and_back(engine: ArtifactEngine, obj: Any) -> Any:
    artifact = Artifact("media", "t")
    artifact.add(obj, "thing")
    return engine.log(artifact).get("thing")


def samples(sound: Audio) -> list[int]:
    with wave.open(io.BytesIO(sound.data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").tolist()


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0, 256, 40000, 65535]], dtype="uint16"),
        np.array([[-5, 0]], dtype="int16"),
        np.array([[0, 2**40]]),
        np.array([["a"]]),
        np.array([[1j]]),
    ],
    ids=str,
)
def test_pixels_that_do_not_fit(array: Any) -> None:
    with pytest.raises(UsageError, match="are no integers from 0 to 255") as caught:
        Image(array)
    assert "pixels / 65535" in caught.value.hint
    with pytest.raises(UsageError, match="are no integers from 0 to 255"):
        Video(array[None])


@pytest.mark.parametrize(
    ("array", "pixels"),
    [
        (np.array([[0, 7, 255]], dtype="int64"), [[0, 7, 255]]),
        ([[0, 1]], [[0, 1]]),
        (np.array([[0, 255]], dtype="uint16"), [[0, 255]]),
        (np.array([[0, 0.5, 1, 1.1]]), [[0, 128, 255, 255]]),
        (np.array([[True, False]]), [[255, 0]]),
    ],
    ids=str,
)
def test_pixels(array: Any, pixels: list[list[int]]) -> None:
    assert np.asarray(Image(array).image).tolist() == pixels


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.zeros((2, 0, 3)), np.zeros(3), None, [[1], [1, 2]]], ids=str)
def test_what_is_no_picture(array: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Image(array)
    assert caught.value.hint


def test_nan() -> None:
    with pytest.raises(UsageError, match="a pixel is not a number"):
        Image(np.array([[np.nan]]))
    with pytest.raises(UsageError, match="a sample is not a number"):
        Audio(np.array([np.nan]), sample_rate=8000)


@pytest.mark.parametrize(
    ("mode", "colour", "pixel"),
    [
        ("CMYK", (0, 255, 0, 0), (255, 0, 255)),
        ("HSV", (0, 255, 255), (255, 0, 0)),
        ("YCbCr", (255, 128, 128), (255, 255, 255)),
        ("RGBX", (1, 2, 3, 4), (1, 2, 3)),
        ("RGBa", (255, 0, 0, 255), (255, 0, 0, 255)),
        ("I", 40000, 40000),
        ("I;16", 300, 300),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("LA", (1, 2), (1, 2)),
    ],
)
def test_modes_of_pillow(mode: str, colour: Any, pixel: Any) -> None:
    assert Image(pillow.new(mode, (1, 1), colour)).image.getpixel((0, 0)) == pixel


def test_modes_that_are_no_png() -> None:
    for picture in (pillow.new("F", (1, 1), 0.5), pillow.new("I", (1, 1), 1 << 16), pillow.new("I", (1, 1), -1)):
        with pytest.raises(UsageError, match="values that PNG cannot hold") as caught:
            Image(picture)
        assert "floats from 0 to 1" in caught.value.hint
    with contextlib.suppress(UsageError):  # of releases of Pillow that do not convert it
        assert Image(pillow.new("LAB", (1, 1))).image.mode == "RGB"
    with pytest.raises(UsageError, match="cannot be encoded as PNG"):
        Image(pillow.new("RGB", (0, 0)))
    with pytest.raises(UsageError, match="mode 'junk'"):
        Image(np.zeros((1, 1)), mode="junk")


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.array([0, 40000, 2**31 - 1, -(2**31), 1 << 16], dtype="int32"), [0, 0, 32767, -32768, 1]),
        (np.array([0, -5, 32767], dtype="int16"), [0, -5, 32767]),
        ([0, 1000, -32768], [0, 1000, -32768]),
        (np.array([0, 0.5, -1, 1.5], dtype="float32"), [0, 16384, -32767, 32767]),
        (np.array([[1, 2], [3, 4]], dtype="int16"), [1, 2, 3, 4]),
    ],
    ids=str,
)
def test_samples(array: Any, found: list[int]) -> None:
    assert samples(Audio(array, sample_rate=np.int64(8000))) == found


@pytest.mark.parametrize(
    "array",
    [
        [0, 40000],
        np.array([0, 2**40]),
        np.array([0, 40000], dtype="uint16"),
        np.array([128, 255], dtype="uint8"),
        np.array([1, 2], dtype="int8"),
        np.array([True]),
    ],
    ids=str,
)
def test_samples_that_are_not_16_bits(array: Any) -> None:
    with pytest.raises(UsageError, match="are no 16-bit samples") as caught:
        Audio(array, sample_rate=8000)
    assert "floats from -1 to 1" in caught.value.hint


def test_what_is_no_sound() -> None:
    for array in (np.zeros((1, 2, 3)), np.float32(1), np.zeros((2, 0))):
        with pytest.raises(UsageError, match="is no sound"):
            Audio(array, sample_rate=8000)
    for rate in (-1, 2**40):
        with pytest.raises(UsageError, match="sample"):
            Audio(np.zeros(2), sample_rate=rate)


def test_numbers_of_numpy(engine: ArtifactEngine) -> None:
    film = Video(b"not really", fps=np.float32(5))
    assert (type(film.fps), there_and_back(engine, film).fps) == (float, 5)
    assert Video(np.zeros((2, 4, 4)), fps=np.int64(5)).fps == 5
    assert there_and_back(engine, Audio(b"x", sample_rate=np.int64(8000))).sample_rate == 8000
    for edges in ([(np.int64(1), np.int64(2))], np.array([[1, 2]]), iter(np.array([[1, 2]]))):
        graph = Graph([{"id": np.int64(1)}, {"id": 2, "weights": np.ones(2)}], edges)
        graph.add_edge(np.int64(2), np.int64(1))
        found = there_and_back(engine, graph)
        assert (found == graph, found.edges) == (True, [[1, 2], [2, 1]])
    assert there_and_back(engine, Object3D([np.ones(3, "float32"), (np.int64(1), 2, 3)])).points == [
        [1, 1, 1],
        [1, 2, 3],
    ]


def test_what_is_no_medium() -> None:
    for fps in ("fast", float("nan"), [1], 10**400):
        with pytest.raises(UsageError, match="fps must be a number"):
            Video(b"not really", fps=fps)  # type: ignore[arg-type]
    for text in ("junk", "[1]", b"\xff", "5", object()):
        with pytest.raises(UsageError, match="figure") as caught:
            Plotly(text)
        assert "to_json" in caught.value.hint
    for edge in (1, (1,), (1, 3), ([1], 2), (1, {})):
        with pytest.raises(UsageError, match="does not join two nodes"):
            Graph([{"id": 1}, {"id": 2}], [edge])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="of a node is a list"):
        Graph([{"id": (1, 2)}])
    for points in ([1, 2], [["a", "b", "c"]], 5, [[1, 2]]):
        with pytest.raises(UsageError, match="points are rows"):
            Object3D(points)
    for number in (np.nan, np.inf):
        with pytest.raises(UsageError, match="not finite"):
            Object3D(np.full((2, 3), number))


def test_a_name_that_is_taken_is_not_explained_by_our_own_files(engine: ArtifactEngine) -> None:
    artifact = Artifact("media", "t")
    for first, second, said in (({1}, {2}, "builtins.set"), (Html("1"), Html("2"), "html-file")):
        artifact.add(first, said)
        with pytest.raises(UsageError, match=f"came from an object .{said}") as caught:
            artifact.add(second, said)
        assert caught.value.where == f"an object ({said})"


def test_without_numpy_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    for encode in (lambda: encoded_sound([0.0], 8000), lambda: encoded_video([[[0]]], 4, "gif")):
        with pytest.raises(UsageError, match="needs NumPy") as caught:
            encode()
        assert "windlass-core[media]" in caught.value.hint
