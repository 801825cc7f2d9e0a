"""Running again exactly: with the inputs that the run has used."""

from __future__ import annotations

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.launch.again import launch_again
from windlass.launch.provenance import as_used, statement
from windlass.launch.submit import LaunchRequest, submit
from windlass.models import INPUTS, INTERNAL, noted
from windlass.models.queue import ClaimRequest, Queue, QueueRef
from windlass.models.run import Run, RunState, RunUpdate

REF = QueueRef(entity="team", name="k")


@pytest.fixture
def data(world):
    def put(name, text):
        artifact = Artifact(name, type="dataset")
        with artifact.new_file("d.txt") as file:
            file.write(text)
        return world.engine.log(artifact, entity="team", project="demo")

    return put


def test_inputs_are_the_versions_that_were_used(world, code, data):
    world.store.queues.create(Queue(entity="team", name="k", resource="bare"))
    submit(LaunchRequest(uri=str(code), queue="k", run_id="old"), **world.given)
    (claim,) = world.store.queues.claim(ClaimRequest(agent="x", queues=(REF,), limit=1))
    twice, gone = [data("twice", "1"), data("twice", "2")], data("gone", "1")
    for used in (data("kept", "1"), *twice, gone):
        world.engine.use(used, "old", 1)
    world.store.runs.update("old", RunUpdate(state=RunState.FINISHED), fence=claim.run.fence)
    data("kept", "2")
    data("gone", "2")
    world.store.artifacts.delete(gone.id)
    said = []
    again, _ = launch_again(world.store, "old", exact=True, say=said.append)
    assert noted(again.config, INPUTS) == {"team/demo/kept": "v0"}
    assert "not pinned: the input team/demo/twice: the run used v0 and v1" in said
    assert "not pinned: the input team/demo/gone:v0, which was deleted" in said
    assert noted(launch_again(world.store, "old")[0].config, INPUTS) is None


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("kept", "team/demo/kept:v0"),
        ("demo/kept:best", "team/demo/kept:v0"),
        ("kept:v7", "kept:v7"),
        ("kept@blake3:aa", "kept@blake3:aa"),
        ("other:latest", "other:latest"),
        ("other/kept", "other/kept"),
    ],
)
def test_only_aliases_are_pinned(name, read):
    assert as_used(name, {"team/demo/kept": "v0"}, entity="team", project="demo") == read


def test_the_code_that_a_run_kept_is_what_it_was_made_from(world):
    facts = {"git": {"remote": "https://example.com/x.git", "commit": "c" * 40}}
    world.store.runs.create(Run(id="own", entity="team", project="demo", config={INTERNAL: facts}))
    for name, kind in (("patch", "code-patch"), ("source", "code"), ("model", "model")):
        artifact = Artifact.internal(name, kind)
        with artifact.new_file("f") as file:
            file.write(name)
        world.engine.log(artifact, entity="team", project="demo", run="own")
    said = statement(world.store.runs.get("own"), world.store)
    assert [entry["name"] for entry in said["subject"]] == ["run/team/demo/own", "team/demo/model:v0"]
    needs = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert needs[0]["digest"] == {"gitCommit": "c" * 40}
    assert sorted(entry["name"] for entry in needs[1:]) == ["team/demo/patch:v0", "team/demo/source:v0"]
