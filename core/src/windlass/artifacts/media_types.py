"""The media types that come with Windlass. Packages such as Pillow or NumPy are imported only when one is used."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast

from windlass.artifacts.encoding import FPS, encoded_image, encoded_sound, encoded_video, number, plain
from windlass.artifacts.media import Media, MediaReader, MediaWriter, extension_of
from windlass.artifacts.metadata import clean_metadata
from windlass.errors import SerializationError, UsageError

__all__ = ["Audio", "Graph", "Html", "Image", "Object3D", "Plotly", "Video"]

_FIGURE = "Pass a plotly figure, or what its to_json() gives."


class _FileMedia(Media):
    """A type whose content is one file: given as a path or as bytes, never changed."""

    extensions: ClassVar[dict[str, str]] = {}
    default: ClassVar[str] = ""

    def __init__(self, data_or_path: Any, *, caption: str = "", format: str = "") -> None:
        self.caption = caption
        self._path = ""
        self._data = b""
        if isinstance(data_or_path, (str, os.PathLike)):
            self._path = os.path.abspath(os.fspath(data_or_path))
            if not os.path.isfile(self._path):
                raise UsageError("there is no such file", where=self._path)
            self.extension = extension_of(self._path, self.extensions or None)
        elif isinstance(data_or_path, (bytes, bytearray)):
            self._data = bytes(data_or_path)
            self.extension = f".{format.lstrip('.').lower()}" if format else self.default
            extension_of("data" + self.extension, self.extensions or None)
        else:
            raise UsageError(f"a {type(self).__name__} cannot be made from a {type(data_or_path).__name__}")

    @property
    def data(self) -> bytes:
        """The content of the file."""
        if self._path:
            with open(self._path, "rb") as file:
                return file.read()
        return self._data

    def facts(self) -> dict[str, Any]:
        """Facts beside the file."""
        return {}

    def to_media(self, writer: MediaWriter) -> dict[str, Any]:
        """Store the file."""
        path = writer.file(self._path or self._data, self.extension)
        return {"path": path, "caption": self.caption, **self.facts()}

    @classmethod
    def from_media(cls, facts: Mapping[str, Any], reader: MediaReader) -> Self:
        """The object back."""
        made = cls.__new__(cls)
        path = str(facts["path"])
        made._path, made._data = reader.path(path), b""
        made.extension, made.caption = extension_of(path), str(facts.get("caption", ""))
        made.restore(facts)
        return made

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Take back what `facts` gave."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, _FileMedia)
        return self.data == other.data and self.caption == other.caption and self.facts() == other.facts()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.data))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.extension} {self.caption!r}>"


class Image(_FileMedia):
    """A picture.

    Args:
        data_or_path: A file, encoded bytes, a Pillow image, a NumPy array (height × width [× 1, 3 or 4]; integers from
            0 to 255, or floats from 0 to 1, beyond which they are cut off), or a Matplotlib figure. All but files and
            bytes become PNG; a Pillow image of colours that PNG does not have, such as CMYK, becomes RGB.
        mode: Pillow mode for arrays; guessed by default.
        caption: Text shown with it.
        boxes: Bounding boxes by group, JSON.
        masks: Segmentation masks by group, JSON.
        format: Format of encoded bytes. Default ``png``.
    """

    media_name = "image-file"
    extensions: ClassVar[dict[str, str]] = {
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".jpeg": "image/jpeg",
        ".gif": "image/gif",
        ".bmp": "image/bmp",
        ".webp": "image/webp",
        ".tif": "image/tiff",
        ".tiff": "image/tiff",
        ".svg": "image/svg+xml",
    }
    default = ".png"

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        boxes: Mapping[str, Any] | None = None,
        masks: Mapping[str, Any] | None = None,
        format: str = "",
    ) -> None:
        self.boxes = clean_metadata(boxes)
        self.masks = clean_metadata(masks)
        if not isinstance(data_or_path, (str, os.PathLike, bytes, bytearray)):
            data_or_path, format = encoded_image(data_or_path, mode), "png"
        super().__init__(data_or_path, caption=caption or "", format=format)

    def facts(self) -> dict[str, Any]:
        """Boxes and masks."""
        return {"boxes": self.boxes, "masks": self.masks}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Boxes and masks."""
        self.boxes = dict(facts.get("boxes") or {})
        self.masks = dict(facts.get("masks") or {})

    @property
    def image(self) -> Any:
        """The picture as a Pillow image (Pillow must be installed)."""
        from PIL import Image as pillow  # type: ignore[import-not-found,unused-ignore]  # noqa: N813

        return pillow.open(io.BytesIO(self.data))


class Html(_FileMedia):
    """A page.

    Args:
        data: HTML text, a file (``.html``), or an open text file.
        caption: Text shown with it.
    """

    media_name = "html-file"
    extensions: ClassVar[dict[str, str]] = {".html": "text/html", ".htm": "text/html"}
    default = ".html"

    def __init__(self, data: Any, caption: str | None = None) -> None:
        if hasattr(data, "read"):
            data = data.read()
        if isinstance(data, str) and not (data.endswith((".html", ".htm")) and os.path.isfile(data)):
            try:
                data = data.encode()
            except UnicodeEncodeError as error:
                hint = "Clean the text: text.encode(errors='replace')."
                raise UsageError(f"it is no Unicode text: {error.reason}", where="Html", hint=hint) from None
        super().__init__(data, caption=caption or "")

    @property
    def html(self) -> str:
        """The text."""
        return self.data.decode()


class Audio(_FileMedia):
    """A sound.

    Args:
        data_or_path: A file, encoded bytes, or an array of samples, time [× channel], which becomes a WAV of 16 bits:
            floats from -1 to 1, beyond which they are cut off; 16-bit integers; or 32-bit integers, of which the upper
            16 bits are taken, as soundfile does. Integers of other types, such as those of a list, are refused when
            they do not fit into 16 bits, and unsigned or 8-bit ones always, because nobody can say how loud they are.
        sample_rate: Samples per second; required for arrays.
        caption: Text shown with it.
        format: Format of encoded bytes. Default ``wav``.
    """

    media_name = "audio-file"
    default = ".wav"

    def __init__(
        self, data_or_path: Any, sample_rate: float | None = None, caption: str | None = None, format: str = ""
    ) -> None:
        self.sample_rate = None if sample_rate is None else number(sample_rate, "sample_rate")
        if not isinstance(data_or_path, (str, os.PathLike, bytes, bytearray)):
            if not self.sample_rate:
                raise UsageError("samples need a sample_rate", hint="Pass sample_rate=44100 or so.")
            data_or_path = encoded_sound(data_or_path, self.sample_rate)
        super().__init__(data_or_path, caption=caption or "", format=format)

    def facts(self) -> dict[str, Any]:
        """The sample rate."""
        return {"sample_rate": self.sample_rate}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """The sample rate."""
        self.sample_rate = facts.get("sample_rate")


class Video(_FileMedia):
    """A film.

    Args:
        data_or_path: A file, encoded bytes, or a NumPy array of frames (time × channel × height × width, or time ×
            height × width [× channel]; 1, 3 or 4 channels; integers from 0 to 255, or floats from 0 to 1).
        caption: Text shown with it.
        fps: Frames per second, kept as a fact. Default for arrays: 4.
        format: Format of encoded bytes: ``mp4`` (the default), ``webm``, ``gif``, ``ogg`` or ``mov``. What an array is
            encoded as: ``gif`` (the default, needs Pillow), ``mp4`` or ``webm`` (need PyAV).
    """

    media_name = "video-file"
    extensions: ClassVar[dict[str, str]] = {
        ".mp4": "video/mp4",
        ".webm": "video/webm",
        ".gif": "image/gif",
        ".ogg": "video/ogg",
        ".mov": "video/quicktime",
    }
    default = ".mp4"

    def __init__(
        self, data_or_path: Any, caption: str | None = None, fps: float | None = None, format: str = ""
    ) -> None:
        fps = None if fps is None else number(fps, "fps")
        if not isinstance(data_or_path, (str, os.PathLike, bytes, bytearray)):
            fps, format = fps or FPS, format or "gif"
            data_or_path = encoded_video(data_or_path, fps, format)
        self.fps = fps
        super().__init__(data_or_path, caption=caption or "", format=format)

    def facts(self) -> dict[str, Any]:
        """Frames per second."""
        return {"fps": self.fps}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Frames per second."""
        self.fps = facts.get("fps")


class Object3D(_FileMedia):
    """A 3D object: a model file, or a point cloud.

    Args:
        data_or_path: A file (``obj``, ``gltf``, ``glb``, ``stl``, ``pts.json``), bytes, or points: an array of n × 3
            (positions), n × 4 (and a category) or n × 6 (and a colour).
        caption: Text shown with it.
        format: Format of encoded bytes. Default ``pts.json`` for points.
    """

    media_name = "object3D-file"
    default = ".json"

    def __init__(self, data_or_path: Any, caption: str | None = None, format: str = "") -> None:
        if not isinstance(data_or_path, (str, os.PathLike, bytes, bytearray)):
            points = plain(data_or_path)
            if not isinstance(points, list) or any(
                not isinstance(point, list)
                or len(point) not in (3, 4, 6)
                or not all(isinstance(item, (int, float)) for item in point)
                for point in points
            ):
                raise UsageError("points are rows of 3, 4 or 6 numbers", hint="Pass an array of n × 3, 4 or 6.")
            try:
                data_or_path, format = json.dumps(points, allow_nan=False).encode(), "json"
            except ValueError:
                raise UsageError(
                    "a point is not finite (NaN or infinite), which JSON cannot hold",
                    hint="Leave such points out: points[numpy.isfinite(points).all(axis=1)].",
                ) from None
        super().__init__(data_or_path, caption=caption or "", format=format)

    @property
    def points(self) -> Any:
        """The points of a point cloud."""
        if self.extension != ".json":
            raise SerializationError(f"a {self.extension} model has no list of points")
        return json.loads(self.data)


class Plotly(Media):
    """A Plotly figure.

    Args:
        val: A ``plotly`` figure, or its JSON as text or mapping.
    """

    media_name = "plotly-file"

    def __init__(self, val: Any) -> None:
        if hasattr(val, "to_json"):
            val = val.to_json()
        try:
            spec = clean_metadata(val) if isinstance(val, Mapping) else json.loads(val)
        except TypeError:
            raise UsageError(f"a {type(val).__name__} is no figure", hint=_FIGURE) from None
        except ValueError as error:
            raise UsageError(f"the text is no JSON of a figure: {error}", hint=_FIGURE) from error
        if not isinstance(spec, dict):
            raise UsageError(f"a figure is a JSON object, not a {type(spec).__name__}", hint=_FIGURE)
        self.spec: dict[str, Any] = spec

    def __repr__(self) -> str:
        return f"<Plotly of {len(self.spec.get('data', ()))} traces>"

    @property
    def figure(self) -> Any:
        """The figure (Plotly must be installed)."""
        import plotly.graph_objects as graph_objects  # type: ignore[import-not-found,unused-ignore]

        return graph_objects.Figure(self.spec)

    def to_media(self, writer: MediaWriter) -> dict[str, Any]:
        """Store the figure's JSON."""
        return {"path": writer.file(json.dumps(self.spec, sort_keys=True).encode(), ".json")}

    @classmethod
    def from_media(cls, facts: Mapping[str, Any], reader: MediaReader) -> Plotly:
        """The figure back."""
        return cls(reader.bytes(str(facts["path"])))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plotly) and self.spec == other.spec

    __hash__ = None  # type: ignore[assignment]


class Graph(Media):
    """A graph of nodes and edges, such as a network's layers.

    Args:
        nodes: Mappings with at least ``id``.
        edges: Pairs of node ids.
    """

    media_name = "graph-file"

    def __init__(self, nodes: Sequence[Mapping[str, Any]] = (), edges: Sequence[Sequence[Any]] = ()) -> None:
        self.nodes = [_node(node) for node in nodes]
        known = self._ids()
        self.edges = [_edge(edge, known) for edge in edges]

    def add_node(self, id: Any, **facts: Any) -> None:
        """Add a node."""
        self.nodes.append(_node({"id": id, **facts}))

    def __repr__(self) -> str:
        return f"<Graph of {len(self.nodes)} nodes and {len(self.edges)} edges>"

    def add_edge(self, source: Any, target: Any) -> None:
        """Add an edge between two nodes."""
        self.edges.append(_edge((source, target), self._ids()))

    def _ids(self) -> set[Any]:
        return {node.get("id") for node in self.nodes}

    def to_media(self, writer: MediaWriter) -> dict[str, Any]:
        """All facts."""
        return {"nodes": self.nodes, "edges": self.edges}

    @classmethod
    def from_media(cls, facts: Mapping[str, Any], _reader: MediaReader) -> Graph:
        """The graph back."""
        return cls(facts["nodes"], facts["edges"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and (self.nodes, self.edges) == (other.nodes, other.edges)

    __hash__ = None  # type: ignore[assignment]


def _node(facts: Mapping[str, Any]) -> dict[str, Any]:
    made = clean_metadata(facts)
    found = made.get("id")
    if isinstance(found, (list, dict)):
        raise UsageError(f"the id {found} of a node is a {type(found).__name__}", hint="Use a text or a number.")
    return made


def _edge(ends: Any, known: set[Any]) -> list[Any]:
    found = plain(list(ends)) if hasattr(ends, "__iter__") else []
    if len(found) != 2 or any(isinstance(end, (list, dict)) or end not in known for end in found):
        raise UsageError(
            f"the edge {found or ends} does not join two nodes", hint="An edge is a pair of ids of the nodes."
        )
    return cast("list[Any]", found)
