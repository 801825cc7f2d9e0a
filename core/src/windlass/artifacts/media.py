"""Rich objects in artifacts: images, sounds, plots … each read back as what it was.

An object is a small JSON document ``<name>.<media>.json`` with its facts, beside the files it needs under
``media/<media>/``. Other packages add types by an entry point of the group ``windlass.media`` whose name is
`Media.media_name` and whose value is the class.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from windlass.artifacts.digest import digest_of, hash_file
from windlass.artifacts.names import MEDIA_FOLDER
from windlass.errors import SerializationError, UsageError

if TYPE_CHECKING:
    from windlass.artifacts.draft import Draft
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.artifacts.manifest import Entry, Manifest

__all__ = [
    "Audio",
    "Graph",
    "Html",
    "Image",
    "Media",
    "MediaReader",
    "MediaWriter",
    "Object3D",
    "Plotly",
    "Video",
    "media_class",
]

_BUILTIN = {
    "audio-file": "windlass.artifacts.media_types:Audio",
    "graph-file": "windlass.artifacts.media_types:Graph",
    "html-file": "windlass.artifacts.media_types:Html",
    "image-file": "windlass.artifacts.media_types:Image",
    "object3D-file": "windlass.artifacts.media_types:Object3D",
    "plotly-file": "windlass.artifacts.media_types:Plotly",
    "table": "windlass.artifacts.table:Table",
    "video-file": "windlass.artifacts.media_types:Video",
}


class Media(ABC):
    """Base of rich objects."""

    media_name: ClassVar[str]
    """Name of the type, part of file names."""

    @abstractmethod
    def to_media(self, writer: MediaWriter) -> dict[str, Any]:
        """Store files through the writer and return the facts as JSON."""

    @classmethod
    @abstractmethod
    def from_media(cls, facts: Mapping[str, Any], reader: MediaReader) -> Media:
        """The object back from its facts and files."""


def media_class(name: str) -> type[Media]:
    """The class of a media type.

    Raises:
        SerializationError: Nothing installed offers it, or what does is no `Media`.
        PluginError: Two distributions offer it, or its import failed.
    """
    import importlib

    target = _BUILTIN.get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
    else:
        from windlass.plugins.loading import offered
        from windlass.plugins.lookup import how_to_install

        offer = offered("media", name)
        if offer is None:
            raise SerializationError(
                f"nothing here reads media of the type '{name}'", hint=how_to_install("media", name)
            )
        found = offer[1]
    if not (isinstance(found, type) and issubclass(found, Media)):
        raise SerializationError(f"the media type '{name}' is not a Media class", hint="Report it to its package.")
    return found


class MediaWriter:
    """Stores media into a draft."""

    def __init__(self, draft: Draft, *, overwrite: bool = False) -> None:
        self._draft = draft
        self._overwrite = overwrite
        self._kind = ""
        self._files: dict[str, None] = {}  # of the object
        self._new: list[str] = []  # of these, which the draft had not
        self._readable: set[type[Media]] = set()

    def add(self, media: Media, name: str) -> str:
        """Store a whole object, or nothing; returns the path of its entry."""
        try:
            return self._add(media, name)
        except BaseException:
            for path in self._new:
                self._draft.remove(path)
            raise

    def _add(self, media: Media, name: str) -> str:
        path = f"{name}.{media.media_name}.json"
        data = json.dumps(self.document(media), allow_nan=False, separators=(",", ":")).encode()
        record = {"kind": "media", "name": name, "media": media.media_name, "files": list(self._files)}
        self._stage(path, data, {"object": record}, self._overwrite)
        return path

    def document(self, media: Media) -> dict[str, Any]:
        """The facts of an object, its files stored; for objects that hold others.

        Raises:
            SerializationError, PluginError: Nobody could read it: its type is not offered, or by another class.
        """
        if type(media) not in self._readable:
            self._check(media)
        before, self._kind = self._kind, media.media_name
        try:
            return {"_type": media.media_name, **media.to_media(self)}
        finally:
            self._kind = before

    def _check(self, media: Media) -> None:
        kind = type(media)
        name = getattr(media, "media_name", "")
        try:
            reader = media_class(name)
        except SerializationError as error:
            raise SerializationError(
                f"a {kind.__qualname__} could not be read again: {error.message}",
                hint=f'Offer it by an entry point, [project.entry-points."windlass.media"]: '
                f'{name or "NAME"} = "{kind.__module__}:{kind.__qualname__}".',
            ) from None
        if not issubclass(kind, reader):
            raise SerializationError(
                f"a {kind.__qualname__} could not be read again: '{name}' is read as {reader.__qualname__}",
                hint="Give it a media_name of its own.",
            )
        self._readable.add(kind)

    def file(self, source: str | bytes, extension: str) -> str:
        """Store a file (by path) or bytes under their digest; returns the path in the artifact.

        Args:
            source: Path or content.
            extension: With dot.
        """
        digest = digest_of(source) if isinstance(source, bytes) else hash_file(source)
        path = f"{MEDIA_FOLDER}{self._kind}/{digest[7:39]}{extension}"
        self._files[path] = None
        if path not in self._draft.items:
            if isinstance(source, bytes):
                self._stage(path, source, None, False)
            else:
                self._draft.add_file(source, path, policy="mutable", overwrite=False)
            self._new.append(path)
        return path

    def _stage(self, path: str, data: bytes, extra: dict[str, Any] | None, overwrite: bool) -> None:
        file = self._draft.new_file(path)
        with open(file, "wb") as stream:
            stream.write(data)
        self._draft.add_staged(file, path, overwrite=overwrite, extra=extra)


class MediaReader:
    """Reads media out of a logged artifact."""

    def __init__(self, engine: ArtifactEngine, manifest: Manifest) -> None:
        self._engine = engine
        self._manifest = manifest
        self._kinds: dict[str, type[Media]] = {}

    def load(self, entry: Entry, kind: type[Media]) -> Media:
        """The object of an entry."""
        try:
            facts = json.loads(self._engine.read(entry))
            return kind.from_media(facts, self)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SerializationError(f"'{entry.path}' is not a {kind.media_name}: {error}") from error

    def object(self, facts: Mapping[str, Any]) -> Media:
        """An object from facts that another object holds."""
        name = str(facts["_type"])
        kind = self._kinds.get(name) or self._kinds.setdefault(name, media_class(name))
        return kind.from_media(facts, self)

    def bytes(self, path: str) -> bytes:
        """Verified content of a file of the artifact."""
        return self._engine.read(self._manifest[path])

    def path(self, path: str) -> str:
        """Path on disk of a verified file of the artifact; it stays for this process."""
        return self._engine.materialize(self._manifest[path])


def extension_of(path: str, allowed: Mapping[str, str] | None = None) -> str:
    """The extension of a file name, checked against those a type can hold."""
    extension = os.path.splitext(path)[1].lower()
    if allowed is not None and extension not in allowed:
        raise UsageError(f"'{path}' has no known extension", hint=f"Known: {', '.join(sorted(allowed))}.")
    return extension


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # the types live in a module of their own, loaded when one is used
        if name in __all__:
            from windlass.artifacts import media_types

            return getattr(media_types, name)
        raise AttributeError(name)
else:
    from windlass.artifacts.media_types import Audio, Graph, Html, Image, Object3D, Plotly, Video
