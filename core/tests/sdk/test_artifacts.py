"""What runs do with artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest

import windlass
from windlass.errors import ConfigError, UsageError
from windlass.models import INPUTS, INTERNAL
from windlass.models.run import Run
from windlass.sdk.settings import Settings

SETTINGS = Settings(flush_seconds=0.01, disable_git=True, disable_job_creation=True)


def artifact(name: str = "data", **files: str) -> windlass.Artifact:
    made = windlass.Artifact(name, type="dataset")
    for path, text in files.items():
        with made.new_file(path) as file:
            file.write(text)
    return made


def test_a_new_artifact_as_an_input(store) -> None:
    with windlass.init("demo", settings=SETTINGS) as run:
        found = run.use_artifact(artifact(a="1"), type="dataset")
        assert (found.version, found.used_by(), found.logged_by()) == ("v0", [run.id], "")
        assert run.use_artifact(artifact(a="1")).version == "v0"  # the content is there already
        assert run.use_artifact(artifact(a="2"), aliases="best").aliases == ["best", "latest"]
        with pytest.raises(UsageError, match="has the type 'dataset'"):
            run.use_artifact(artifact(a="3"), type="model")
        with pytest.raises(UsageError, match="not as int"):
            run.use_artifact(7)  # type: ignore[arg-type]
        assert [v.version for v in run.used_artifacts()] == [0, 1]
        assert run.logged_artifacts() == ()


def test_a_word_is_one_alias(store) -> None:
    with windlass.init("demo", settings=SETTINGS) as run:
        made = run.log_artifact(artifact(a="1"), aliases="best", tags="checked")
        assert (made.aliases, made.tags) == (["best", "latest"], ("checked",))
        assert [v.id for v in run.logged_artifacts()] == [made.id]


def test_several_runs_make_one_version(store) -> None:
    for index in range(3):
        with windlass.init("demo", group="crawl", settings=SETTINGS) as run:
            run.upsert_artifact(artifact("shared", **{f"part{index}": str(index), "common": "same"}))
    with windlass.Api(SETTINGS) as api:
        assert not api.artifact_exists("demo/shared")
    with windlass.init("demo", group="crawl", settings=SETTINGS) as run:
        made = run.finish_artifact(artifact("shared", note="done"), aliases="whole")
        assert [entry.path for entry in made.entries()] == ["common", "note", "part0", "part1", "part2"]
        assert (made.aliases, made.logged_by()) == (["latest", "whole"], run.id)
        with pytest.raises(UsageError, match="nobody has contributed"):
            run.finish_artifact(artifact("shared"), distributed_id="another")
    with windlass.init("demo", settings=SETTINGS) as run, pytest.raises(UsageError, match="not said which runs"):
        run.upsert_artifact(artifact("shared"))


def test_a_link_is_a_version_of_its_own(store) -> None:
    with windlass.init("demo", settings=SETTINGS) as maker:
        source = maker.log_artifact(artifact(a="1"), aliases="best")
    before = len(list(store.blobs.list()))
    with windlass.init("demo", settings=SETTINGS) as promoter:
        linked = promoter.link_artifact(source, "registry/production", aliases="stable")
        assert (linked.path, linked.type, linked.digest) == ("ann/registry/production:v0", "dataset", source.digest)
        assert linked.aliases == ["latest", "stable"]
        assert promoter.link_artifact(source, "registry/production").path == linked.path  # the content is there already
        assert [v.id for v in promoter.used_artifacts()] == [source.id]
        assert [v.id for v in promoter.logged_artifacts()] == [linked.id]
        fresh = promoter.link_artifact(artifact(a="2"), "ann/registry/production")
        assert (fresh.version, fresh.aliases) == ("v1", ["latest"])
        assert [v.name for v in promoter.logged_artifacts()] == ["production", "data", "production"]
        assert promoter.link_artifact(source, "other").path == "ann/demo/other:v0"
        for wrong in ("registry/production:stable", "production@blake3:00"):
            with pytest.raises(UsageError, match="names a version"):
                promoter.link_artifact(source, wrong)
        with pytest.raises(UsageError, match="'dataset', not 'model'"):
            promoter.link_artifact(windlass.Artifact("net", type="model"), "registry/production")
    assert source.aliases == ["best", "latest"]
    assert before < len(list(store.blobs.list())) <= before + 4  # a file and a manifest each, but for the linked one


def test_a_link_without_a_run_is_made_by_one(store) -> None:
    linked = artifact(a="1").save().link("production", aliases=["stable"])
    with windlass.Api(SETTINGS) as api:
        assert api.run(linked.logged_by()).job_type == "artifact"
        assert api.artifact("uncategorized/production:stable").digest == linked.digest


def test_what_is_final_takes_no_more(store) -> None:
    made = artifact(a="1")
    made.finalize()
    made.finalize()
    made.description = "labels may change"
    for change in (
        lambda: made.new_file("b").__enter__(),
        lambda: made.add_file(__file__),
        lambda: made.add_reference(Path(__file__).as_uri()),
        lambda: made.add([1], "list"),
        lambda: made.remove("a"),
    ):
        with pytest.raises(UsageError, match="is final"):
            change()
    with windlass.init("demo", settings=SETTINGS) as run:
        run.log_artifact(made)
        with pytest.raises(UsageError, match="is logged and cannot change"):
            made.remove("a")
        draft = made.new_draft()
        draft.remove("a")
        assert run.log_artifact(draft).version == "v1"


def test_save_logs_what_is_new(store) -> None:
    made = artifact(a="1").save()
    with windlass.Api(SETTINGS) as api:
        assert (api.run(made.logged_by()).job_type, api.run(made.logged_by()).state) == ("artifact", "finished")
    with windlass.init("demo", settings=SETTINGS) as run:
        assert artifact(a="2").save().logged_by() == run.id


def test_references_see_the_settings_of_the_run(store, tmp_path: Path) -> None:
    home = tmp_path / "other"
    home.mkdir()
    (home / "storage.yaml").write_text("file: {fsnyc: true}\n")  # told by its complaint
    made = windlass.Artifact("data", type="dataset")
    made.add_reference(tmp_path.as_uri())
    with (
        windlass.init("demo", settings=Settings(home=home, flush_seconds=0.01, disable_job_creation=True)),
        pytest.raises(ConfigError, match="fsnyc"),
    ):
        windlass.Artifact("data", type="dataset").add_reference(tmp_path.as_uri())


def test_references_see_the_settings_of_the_environment(store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    windlass.Artifact("data", type="dataset").add_reference((tmp_path / "file").as_uri())
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "storage.yaml").write_text("file: {fsnyc: true}\n")
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "later"))
    with pytest.raises(ConfigError, match="fsnyc"):
        windlass.Artifact("data", type="dataset").add_reference((tmp_path / "file").as_uri())


def test_a_run_that_repeats_another_exactly_uses_its_inputs(store) -> None:
    with windlass.init("demo", settings=SETTINGS) as run:
        for text in ("one", "two"):
            run.log_artifact(artifact(a=text))
    store.runs.create(
        Run(id="again", entity="ann", project="demo", config={INTERNAL: {INPUTS: {"ann/demo/data": "v0"}}})
    )
    with windlass.init("demo", id="again", resume="must", settings=SETTINGS) as run:
        assert run.use_artifact("data:latest").version == "v0"
        assert run.use_artifact("data:v1").version == "v1"
