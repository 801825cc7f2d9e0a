"""Media types of other packages."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.media import Html, Media, MediaReader, MediaWriter
from windlass.artifacts.table import Table
from windlass.errors import SerializationError, UsageError, WindlassError


def there_and_back(engine: ArtifactEngine, obj: Any) -> Any:
    artifact = Artifact("objects", "t")
    artifact.add(obj, "thing")
    engine.log(artifact)
    return engine.get("objects").get("thing")


def test_a_type_of_another_package(engine: ArtifactEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
from windlass.artifacts.media import Media

class Molecule(Media):
    media_name = "molecule-file"

    def __init__(self, text):
        self.text = text

    def to_media(self, writer):
        return {"path": writer.file(self.text.encode(), ".pdb")}

    @classmethod
    def from_media(cls, facts, reader):
        return cls(reader.bytes(facts["path"]).decode())
"""
    site = tmp_path / "site"
    info = site / "molecules-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "molecules_of_somebody.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: molecules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[windlass.media]\nmolecule-file = molecules_of_somebody:Molecule\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(site))
        kind = importlib.import_module("molecules_of_somebody").Molecule
        found = there_and_back(engine, kind("ATOM"))
        assert (type(found), found.text) == (kind, "ATOM")
        table = there_and_back(engine, Table(columns=["m"], data=[[kind("N2")]]))
        assert table.data[0][0].text == "N2"
    with pytest.raises(SerializationError, match="nothing here reads media of the type 'molecule-file'"):
        engine.get("objects:v0").get("thing")


def test_what_nobody_could_read_is_not_stored(
    engine: ArtifactEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unknown(Media):
        media_name = "unknown-file"

        def to_media(self, writer: MediaWriter) -> dict[str, Any]:
            return {"path": writer.file(b"x", ".x")}

        @classmethod
        def from_media(cls, facts: Mapping[str, Any], reader: MediaReader) -> Unknown:
            return cls()

    class Picture(Unknown):
        media_name = "image-file"

    class Broken(Unknown):
        media_name = "broken-file"

    info = tmp_path / "site" / "acme_broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[windlass.media]\nbroken-file = no_such_module_here:Broken\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    artifact = Artifact("objects", "model")
    for thing, said in (
        (Unknown(), "nothing here reads media of the type 'unknown-file'"),
        (Table(columns=["a"], data=[[Unknown()]]), "nothing here reads media of the type 'unknown-file'"),
        (Picture(), "'image-file' is read as Image"),
        (Broken(), "media 'broken-file' of acme-broken 1.0 failed: ModuleNotFoundError"),
    ):
        with pytest.raises(WindlassError, match=said):
            artifact.add(thing, "thing")
    artifact.add(Html("<p>"), "page")
    engine.log(artifact)
    assert [entry.path for entry in artifact.entries() if not entry.path.startswith("media/html-file/")] == [
        "page.html-file.json"
    ]


@pytest.mark.parametrize(
    "content", ["null", "[1]", '{"columns": ["a"], "data": [[{"_type": "object", "value": 5}]]}', "["]
)
@pytest.mark.parametrize("media", ["table", "image-file", "html-file", "audio-file", "plotly-file", "graph-file"])
def test_what_is_no_media_is_said_to_be_none(engine: ArtifactEngine, tmp_path: Path, media: str, content: str) -> None:
    """Whoever logs an artifact can write anything into it."""
    file = tmp_path / "forged.json"
    file.write_text("[" * 100_000 if content == "[" else content)  # deeper than Python goes
    artifact = Artifact("forged", "t")
    record = {"object": {"kind": "media", "name": "x", "media": media, "files": []}}
    artifact.draft.add_file(str(file), f"x.{media}.json", policy="immutable", overwrite=False, extra=record)
    with pytest.raises(SerializationError, match="is not a"):
        engine.log(artifact).get("x")


def test_text_that_is_none() -> None:
    with pytest.raises(UsageError, match="no Unicode text") as caught:
        Html("\ud800")
    assert caught.value.hint
