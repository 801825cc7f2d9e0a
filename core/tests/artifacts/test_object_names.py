"""What an entry is found by: its path, and the name an object was added under. No two entries share either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.draft import Draft
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.media import Html
from windlass.artifacts.table import Table
from windlass.errors import UsageError


def paths(artifact: Artifact) -> list[str]:
    return [entry.path for entry in artifact.entries()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "some.txt"
    made.write_text("text")
    return made


def test_another_type_replaces_the_object(engine: ArtifactEngine) -> None:
    artifact = Artifact("objects", "t")
    artifact.add({"a": 1}, "w", serializer="json")
    artifact["w"] = Html("<b>page</b>")
    artifact["w"] = {9, 8}
    engine.log(artifact)
    assert artifact["w"] == {9, 8}
    assert [path for path in paths(artifact) if not path.startswith("media/")] == ["w.pkl"]


def test_a_name_is_given_once(engine: ArtifactEngine) -> None:
    artifact = Artifact("objects", "t")
    artifact.add([1], "w", serializer="json")
    for obj in ({1}, Table(columns=["a"], data=[[1]])):
        with pytest.raises(UsageError, match=r"'w' would be the name of two entries: 'w\.json' and 'w"):
            artifact.add(obj, "w")
    artifact.add([1], "w", serializer="json")  # the same again is no other
    engine.log(artifact)
    assert artifact["w"] == [1]


@pytest.mark.parametrize("again", [[9, 9], {"b": 2}, {9}])
def test_a_draft_of_a_version(engine: ArtifactEngine, again: Any) -> None:
    artifact = Artifact("objects", "t")
    artifact.add([1], "w", serializer="json")
    artifact.add([2], "other", serializer="json")
    draft = engine.log(artifact).new_draft()
    with pytest.raises(UsageError, match="two entries"):
        draft.add(again, "w", serializer="pickle")
    draft.add(again, "w", serializer="pickle", overwrite=True)
    assert engine.log(draft)["w"] == again
    assert paths(draft) == ["other.json", "w.pkl"]


def test_incremental(engine: ArtifactEngine, file: Path) -> None:
    artifact = Artifact("objects", "t")
    artifact.add([1], "w", serializer="json")
    artifact.add([2], "other", serializer="json")
    artifact.add_file(file, "cfg")
    engine.log(artifact)
    more = Artifact("objects", "t", incremental=True)
    more.add([9, 9], "w", serializer="pickle")
    more.add([3], "cfg", serializer="json")
    more.add_file(file, "other")
    engine.log(more)
    assert (more["w"], more["cfg"]) == ([9, 9], [3])
    assert paths(more) == ["cfg.json", "other", "w.pkl"]


def test_files_and_objects(engine: ArtifactEngine, file: Path, tmp_path: Path) -> None:
    artifact = Artifact("objects", "t")
    artifact.add_file(file, "cfg")
    with pytest.raises(UsageError, match=r"'cfg' would be the name of two entries: 'cfg' and 'cfg\.json'"):
        artifact.add([1], "cfg", serializer="json")
    artifact.add([1], "cfg", serializer="json", overwrite=True)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "cfg").write_text("text")
    both = r"two entries: 'cfg\.json' and 'cfg'"
    with pytest.raises(UsageError, match=both):
        artifact.add_file(file, "cfg")
    with pytest.raises(UsageError, match=both):
        artifact.add_dir(folder)
    with pytest.raises(UsageError, match=both):
        artifact.add_reference(file.as_uri(), "cfg")
    with pytest.raises(UsageError, match="already"), artifact.new_file("cfg"):
        pass
    engine.log(artifact)
    assert (artifact["cfg"], paths(artifact)) == ([1], ["cfg.json"])
    draft = artifact.new_draft()
    draft.add_dir(folder, overwrite=True)
    assert paths(engine.log(draft)) == ["cfg"]


def test_one_path_under_two_names(engine: ArtifactEngine, file: Path) -> None:
    artifact = Artifact("objects", "t")
    path = artifact.add([1], "w", serializer="json")
    with pytest.raises(UsageError, match="another content, address or name"):
        artifact.add([1], path, serializer="json")
    (file.parent / path).write_bytes(b"[1]")
    artifact.add_file(file.parent / path)  # the same content: it stays an object
    assert engine.log(artifact)["w"] == [1]


def test_versions_in_which_a_name_is_given_twice(engine: ArtifactEngine) -> None:
    """Such were once logged: the new object replaces both, and a new version leaves neither out by itself."""
    first, second = Artifact("objects", "t"), Artifact("other", "t")
    first.add([1], "w", serializer="json")
    second.add([2], "w", serializer="pickle")
    entries = [*engine.log(first).entries(), *engine.log(second).entries()]
    draft = Artifact("both", "t")
    draft.draft = Draft(entries)
    assert paths(engine.log(draft)) == ["w.json", "w.pkl"]
    more = Artifact("both", "t", incremental=True)
    more.add([3], "more", serializer="json")
    assert paths(engine.log(more)) == ["more.json", "w.json", "w.pkl"]
    again = more.new_draft()
    again["w"] = Html("page")
    assert [path for path in paths(engine.log(again)) if path[0] == "w"] == ["w.html-file.json"]


def test_an_object_is_removed_by_its_name(engine: ArtifactEngine) -> None:
    artifact = Artifact("objects", "t")
    artifact.add({1}, "x")
    artifact.remove("x")
    assert not artifact.draft.items


def test_a_removed_object_frees_its_name(engine: ArtifactEngine) -> None:
    artifact = Artifact("objects", "t")
    artifact.remove(artifact.add([1], "folder/w", serializer="json"))
    artifact.add([1], "folder/w", serializer="json")
    artifact.remove("folder")
    artifact.add({1}, "folder/w")
    assert engine.log(artifact)["folder/w"] == {1}


def test_parts_of_several_runs(engine: ArtifactEngine) -> None:
    for part, serializer in (("1", "json"), ("2", "pickle")):
        share = Artifact("objects", "t")
        share.add([part], "w", serializer=serializer)
        engine.add_part(share, group="g", part=part)
    with pytest.raises(UsageError, match="two entries"):
        engine.finish(Artifact("objects", "t"), group="g")


def media(artifact: Artifact) -> int:
    """How many media files it has."""
    return sum(path.startswith("media/") for path in artifact.draft.items or paths(artifact))


def pages(*texts: str) -> Table:
    return Table(columns=["page"], data=[[Html(text)] for text in texts])


def test_an_object_that_goes_takes_its_media_files(engine: ArtifactEngine, file: Path) -> None:
    artifact = Artifact("objects", "t")
    artifact.add(pages("a", "b"), "table")
    artifact.add(Html("a"), "page")
    artifact.add_file(file, "media/mine.txt")
    artifact["table"] = pages("b", "c")
    assert media(artifact) == 4  # a, of the page; b, c; mine
    artifact["page"] = {1}
    assert media(artifact) == 3
    artifact.remove("table")
    assert list(artifact.draft.items) == ["media/mine.txt", "page.pkl"]


def test_a_draft_of_a_version_loses_media_files_too(engine: ArtifactEngine) -> None:
    artifact = Artifact("objects", "t")
    artifact.add(pages("a", "b"), "table")
    artifact.add(Html("a"), "page")
    draft = engine.log(artifact).new_draft()
    draft["table"] = pages("c")
    engine.log(draft)
    assert media(draft) == 2
    assert draft["table"] == pages("c")
    assert draft["page"] == Html("a")


@pytest.mark.parametrize("removed", [False, True])
def test_an_increment_leaves_media_files_of_the_latest_version_out(engine: ArtifactEngine, removed: bool) -> None:
    artifact = Artifact("objects", "t")
    artifact.add(pages("a", "b", "d"), "table")
    artifact.add(Html("a"), "page")
    engine.log(artifact)
    more = Artifact("objects", "t", incremental=True)
    more.add(Html("d"), "more")
    if removed:
        more.remove("table")
    else:
        more.add(pages("c"), "table")
    engine.log(more)
    assert media(more) == (2 if removed else 3)
    assert (more["page"], more["more"]) == (Html("a"), Html("d"))


def test_objects_that_do_not_say_what_they_need_keep_all_media_files(engine: ArtifactEngine) -> None:
    artifact = Artifact("objects", "t")
    artifact.add(Html("a"), "page")
    record = artifact.draft.items["page.html-file.json"].extra
    assert record is not None
    del record["object"]["files"]  # as versions before had it
    draft = engine.log(artifact).new_draft()
    draft.add(Html("a"), "other")
    draft.remove("other")
    assert engine.log(draft)["page"] == Html("a")


def test_an_object_that_is_refused_leaves_no_media_files(engine: ArtifactEngine) -> None:
    artifact = Artifact("objects", "t")
    artifact.add(Html("a"), "page")
    with pytest.raises(UsageError, match="another content"):
        artifact.add(Html("b"), "page")
    with pytest.raises(UsageError):
        artifact.add(Table(columns=["p", "bad"], data=[[Html("c"), object()]]), "table")
    assert media(artifact) == 1


@pytest.mark.parametrize("name", ["", ".", "a/", "../a", "a//b"])
@pytest.mark.parametrize("obj", [{"a": 1}, Html("a")], ids=["python", "media"])
def test_a_name_is_a_path(obj: Any, name: str) -> None:
    artifact = Artifact("objects", "t")
    with pytest.raises(UsageError, match="cannot be a path in an artifact"):
        artifact.add(obj, name)
    assert not artifact.draft.items
