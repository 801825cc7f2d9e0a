"""Content that was there before: logged again, added to, taken over, found expired."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.gc import collect_garbage
from windlass.artifacts.linking import link
from windlass.errors import AccessError, UsageError
from windlass.models.artifact import ArtifactFilter, Committed, NewVersion
from windlass.trust.policy import TrustConfig, check_may_load


def made(name: str = "data", text: str = "x", *, path: str = "a", incremental: bool = False) -> Artifact:
    artifact = Artifact(name, "dataset", incremental=incremental)
    with artifact.new_file(path) as file:
        file.write(text)
    return artifact


def paths(artifact: Artifact) -> list[str]:
    return [entry.path for entry in artifact.entries()]


def test_a_version_logged_again_gets_the_labels_and_stays_what_it_is(engine: ArtifactEngine) -> None:
    first = engine.log(made())
    again = engine.log(engine.get("data"), aliases=["prod"])
    assert (again.path, again.aliases, again.new_version) == (first.path, ["latest", "prod"], False)
    assert paths(engine.get("data:prod")) == ["a"]


def test_a_version_logged_in_another_project_brings_its_content(engine: ArtifactEngine) -> None:
    engine.log(made())
    other = engine.log(engine.get("data"), project="other")
    assert (other.path, paths(other)) == ("team/other/data:v0", ["a"])


def test_a_version_is_the_share_of_a_run(engine: ArtifactEngine) -> None:
    engine.add_part(engine.log(made()), group="g", part="1")
    assert paths(engine.finish(engine.log(made(path="b")), group="g")) == ["a", "b"]


def test_shares_are_of_one_type(engine: ArtifactEngine) -> None:
    engine.add_part(made(), group="g", part="1")
    with pytest.raises(UsageError, match="the part '1' of 'data' is of type 'dataset', not 'model'"):
        engine.finish(Artifact("data", "model"), group="g")


@pytest.mark.parametrize(("before", "after", "lives"), [(60, None, False), (60, 600, True), (600, 60, True)])
def test_content_that_is_stored_again_lives_on(
    engine: ArtifactEngine, before: float, after: float | None, lives: bool
) -> None:
    """At least as long as a new version would, and never shorter than it would have without."""
    for seconds in (before, after):
        artifact = made()
        artifact.ttl_seconds = seconds
        engine.log(artifact)
    found = engine.get("data").ttl_seconds
    assert (found is not None) == lives
    assert found is None or 600 <= found < 660


def test_what_has_expired_and_is_stored_again_is_not_collected(engine: ArtifactEngine) -> None:
    artifact = made()
    artifact.ttl_seconds = 1e-6
    engine.log(artifact)
    assert not engine.log(made()).new_version
    assert collect_garbage(engine.store, undelete=0.0, grace=0.0).versions_purged == 0
    assert engine.get("data").get_entry("a").open().read() == b"x"


def test_a_version_that_is_collected_while_its_content_is_stored_again(
    engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.log(made())
    engine.log(made(text="y"))
    commit = engine.store.artifacts.commit

    def late(new: object) -> object:
        monkeypatch.setattr(engine.store.artifacts, "commit", commit)
        engine.get("data:v0").delete(delete_aliases=True)
        collect_garbage(engine.store, undelete=-60.0, grace=-60.0)
        return commit(new)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.store.artifacts, "commit", late)
    again = engine.log(made())
    assert (again.version, again.new_version) == ("v2", True)
    assert engine.get("data:v2").get_entry("a").open().read() == b"x"


def test_increments_of_many_at_once_are_all_there(engine: ArtifactEngine) -> None:
    def add(number: int) -> None:
        engine.log(made(text=str(number), path=f"f{number}", incremental=True))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latest = engine.get("data")
    assert (latest.version, paths(latest)) == ("v7", [f"f{number}" for number in range(8)])


def test_what_many_remove_at_once_is_gone(engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(path="a")
    with first.new_file("keep") as file:
        file.write("x")
    engine.log(first)
    original, others = engine.store.artifacts.commit, [made(path="b", incremental=True)]
    others[0].remove("a")

    def beaten(version: NewVersion) -> Committed:
        if others:
            engine.log(others.pop())
        return original(version)

    monkeypatch.setattr(engine.store.artifacts, "commit", beaten)
    mine = made(path="c", incremental=True)
    mine.remove("a")
    assert (engine.log(mine).version, paths(mine)) == ("v2", ["b", "c", "keep"])


def _linked(engine: ArtifactEngine, foreign: Artifact) -> Artifact:
    return link(engine, foreign, "ours", entity="team", project="demo")


def _drafted(engine: ArtifactEngine, foreign: Artifact) -> Artifact:
    draft = foreign.new_draft()
    with draft.new_file("more") as file:
        file.write("of ours")
    return engine.log(draft, entity="team")


def _logged(engine: ArtifactEngine, foreign: Artifact) -> Artifact:
    return engine.log(foreign, entity="team")


def _added_to(engine: ArtifactEngine, foreign: Artifact) -> Artifact:
    _linked(engine, foreign)
    return engine.log(made("ours", path="b", incremental=True))


def _shared(engine: ArtifactEngine, foreign: Artifact) -> Artifact:
    engine.add_part(foreign, group="g", part="1", entity="team")
    return engine.finish(made(path="b"), group="g", entity="team")


def _shared_at_last(engine: ArtifactEngine, foreign: Artifact) -> Artifact:
    engine.add_part(made(path="b"), group="g", part="1", entity="team")
    return engine.finish(foreign, group="g", entity="team")


@pytest.mark.parametrize("take_over", [_linked, _drafted, _logged, _added_to, _shared, _shared_at_last])
def test_what_was_taken_over_from_others_is_trusted_as_theirs(
    engine: ArtifactEngine, take_over: Callable[[ArtifactEngine, Artifact], Artifact]
) -> None:
    ours = take_over(engine, engine.log(made(), entity="strangers")).info
    assert (ours.entity, ours.origins) == ("team", ("strangers",))
    assert engine.store.artifacts.list(ArtifactFilter(entity="team"))[0].origins == ("strangers",)
    pickle = engine.app.serializers.get("pickle")
    with pytest.raises(AccessError, match="content of it came from the entity 'strangers', which is not trusted"):
        check_may_load(ours, pickle, policy=TrustConfig(), own_entity="team")
    trusting = TrustConfig(trusted_entities=("strangers",))
    assert check_may_load(ours, pickle, policy=trusting, own_entity="team").reason == "trusted-entity"
    assert check_may_load(replace(ours, origins=()), pickle, policy=trusting, own_entity="team").reason == "own-entity"


def test_a_folder_that_does_not_fit_adds_nothing(engine: ArtifactEngine, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("of the folder")
    for add in (lambda a: a.add_dir(tmp_path), lambda a: a.add_reference(tmp_path.as_uri())):
        artifact = made(path="b")
        artifact.app = engine.app
        with pytest.raises(UsageError, match="has 'b' already"):
            add(artifact)
        assert list(artifact.draft.items) == ["b"]
