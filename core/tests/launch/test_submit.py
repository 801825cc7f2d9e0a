"""From a request to a queue item, and on to what a runner gets."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from windlass.errors import ConfigError
from windlass.launch.automatic import inputs_of
from windlass.launch.inputs import joined, read_file_overrides, read_overrides
from windlass.launch.jobs import describe_job, list_jobs, load_job, save_job
from windlass.launch.plan import plan_run
from windlass.launch.private import discard, is_private
from windlass.launch.sources import fetch_source
from windlass.launch.submit import LaunchRequest, resolve, submit
from windlass.models.artifact import ArtifactFilter
from windlass.models.job import JobSource, JobSpec, SourceKind
from windlass.models.launch import LaunchPolicy, LaunchSpec
from windlass.models.queue import Queue, QueueRef, TemplateVariable
from windlass.models.run import Run, RunState, RunUpdate


@pytest.fixture
def queue(world):
    """A queue with templates, macros, open fields and bounds."""
    return world.store.queues.create(
        Queue(
            entity="team",
            name="gpu",
            resource="boxes",
            config={
                "cpus": "{{cpus}}",
                "env": ["RUN=${run_id}", "BY=${author}", "Q=${queue_name}", "ESC=$${run_id}"],
                "volume": "/data:/data",
                "builder": {"accelerator": {"base_image": "vendor/cuda:1"}},
            },
            templates={"cpus": TemplateVariable(type="integer", default=2, minimum=1, maximum=8)},
            open_fields=("resource_args.memory", "env.SEED"),
            policy=LaunchPolicy(stop_grace=20, retries={"exit-code": 1}),
            policy_max=LaunchPolicy(attempt_timeout=100, retries={"exit-code": 3}),
        )
    )


def test_a_code_job_travels(world, code, tmp_path, queue):
    request = LaunchRequest(uri=str(code), queue="gpu", job_name="hello", author="ann", template_values=("cpus=4",))
    run = submit(request, **world.given)
    assert run.state is RunState.QUEUED
    assert run.spec.job == "team/demo/hello:v0"
    assert run.spec.source.artifact == "team/demo/code-hello:v0"
    target = fetch_source(run.spec.source, tmp_path / "there", engine=world.engine, cache_dir=tmp_path / "cache")
    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert found == {"main.py", "run.sh", "pkg/mod.py", ".gitignore"}
    assert (target / "run.sh").stat().st_mode & 0o111
    assert not (target / "main.py").stat().st_mode & 0o111
    plan = plan_run(run, queue, image="img:1")
    assert plan.command == ("python", "main.py")
    assert plan.resource_args == {
        "cpus": 4,
        "env": [f"RUN={run.id}", "BY=ann", "Q=gpu", "ESC=${run_id}"],
        "volume": "/data:/data",
    }
    assert (plan.base_image, plan.accelerator, plan.image) == ("vendor/cuda:1", True, "img:1")
    assert plan.policy.stop_grace == 20
    assert plan.policy.start_timeout == 1800
    assert plan.policy.retries == {"infrastructure": 0, "preemption": 5, "out-of-memory": 0, "exit-code": 1}
    assert plan.env["WINDLASS_RUN_ID"] == run.id
    assert plan.env["WINDLASS_DOCKER"] == "img:1"


def test_new_versions_only_on_change(world, code):
    request = LaunchRequest(uri=str(code), resource="bare", job_name="hello")
    first, second = (submit(request, **world.given) for _ in range(2))
    assert first.spec.job == second.spec.job == "team/demo/hello:v0"
    (code / "noise.log").write_text("more noise\n")
    assert submit(request, **world.given).spec.job == "team/demo/hello:v0"
    (code / "main.py").write_text("print('changed')\n")
    assert submit(request, **world.given).spec.job == "team/demo/hello:v1"
    assert [job.version for job in list_jobs(world.store, entity="team", project="demo")] == [1, 0]


def test_without_a_queue_the_run_has_one_of_its_own(world, code):
    run = submit(LaunchRequest(uri=str(code), resource="bare", env={"A": "b"}, priority="high"), **world.given)
    queue = world.store.queues.get(QueueRef(entity="team", name=run.queue))
    assert is_private(queue)
    assert run.priority == 1
    assert plan_run(run, queue).env["A"] == "b"
    discard(run, world.store)
    discard(run, world.store)
    assert not world.store.queues.list("team")


def test_names_by_the_table(world, code):
    run = submit(LaunchRequest(uri=str(code), resource="bare"), **world.given)
    assert run.spec.job == "team/demo/job-code-code:v0"
    image = submit(LaunchRequest(image="ghcr.io/org/app:v1.2", resource="boxes"), **world.given)
    assert image.spec.job == "team/demo/job-ghcr.io_org_app:v0"
    assert "v1.2" in load_job(image.spec.job, engine=world.engine, entity="team", project="demo").aliases


def test_a_script_is_its_own_entry_point(world, code):
    run = submit(LaunchRequest(uri=str(code / "main.py"), resource="bare"), **world.given)
    assert run.spec.source.entry_point == ("python", "main.py")


def test_image_jobs_keep_the_images_entry_point(world, queue):
    run = submit(LaunchRequest(image="org/app:1", queue="gpu", args=("--epochs", "3")), **world.given)
    plan = plan_run(run, queue)
    assert (plan.command, plan.args, plan.image) == ((), ("--epochs", "3"), "org/app:1")
    other = submit(LaunchRequest(job=run.spec.job, queue="gpu", entry_point="sh -c 'a b'"), **world.given)
    assert plan_run(other, queue).command == ("sh", "-c", "a b")
    assert other.spec.job == run.spec.job


def test_merge_order_and_origins(world, code, queue, tmp_path):
    (code / "a.py").touch()
    file = tmp_path / "over.yaml"
    file.write_text(
        "overrides:\n  run_config: {a: 1, b: {c: 2, d: 3}}\n  args: [--from, file]\n  entry_point: python a.py\n"
        "  resource_args: {memory: 1g}\n  env: {SEED: '1'}\n  policy: {attempt_timeout: 50}\n"
    )
    request = LaunchRequest(
        uri=str(code),
        queue="gpu",
        overrides=file,
        run_config={"b": {"c": 9}},
        set=("b.e=1e-3", "f=[1, x]"),
        resource_args='{"boxes": {"memory": "2g"}}',
    )
    found = resolve(request, **world.given)
    spec = found.item.spec
    assert spec.run_config == {"a": 1, "b": {"c": 9, "d": 3, "e": 0.001}, "f": [1, "x"]}
    assert spec.entry_point == ("python", "a.py")
    assert found.plan.command == ("python", "a.py", "--from", "file")
    assert found.plan.resource_args["memory"] == "2g"
    assert found.plan.policy.attempt_timeout == 50
    for path, origin in {
        "run_config.a": "overrides file",
        "run_config.b.c": "flag",
        "run_config.b.e": "flag",
        "args": "overrides file",
        "resource_args.memory": "flag",
        "resource_args.volume": "queue",
        "template_values.cpus": "queue",
        "policy.attempt_timeout": "overrides file",
        "entry_point": "overrides file",
        "source": "flag",
    }.items():
        assert found.origins[path] == origin, path
    assert not world.store.artifacts.list(ArtifactFilter(entity="team"))
    assert not world.store.runs.list(__import__("windlass.models.run", fromlist=["RunFilter"]).RunFilter())


def test_inputs_reach_the_job(world, code):
    request = LaunchRequest(
        uri=str(code), resource="bare", run_config={"lr": 0.1, "text": "x" * 100_000}, files={"c.yaml": {"a": 1}}
    )
    run = submit(request, **world.given)
    plan = plan_run(run, world.store.queues.get(QueueRef(entity="team", name=run.queue)))
    assert all(len(value) < 100_000 for value in plan.env.values())
    assert json.loads(joined(plan.env, "WINDLASS_CONFIG"))["lr"] == 0.1
    assert read_overrides(plan.env)["text"] == "x" * 100_000
    assert read_file_overrides(plan.env) == {"c.yaml": {"a": 1}}
    assert run.config["lr"] == 0.1


def _job(world, **changes):
    source = JobSource(kind=SourceKind.IMAGE, image="org/app:1")
    spec = JobSpec(
        source=source,
        input_schemas={
            "@windlass.config": {
                "type": "object",
                "properties": {"epochs": {"type": "integer", "minimum": 1}, "lr": {"type": "number"}},
                "additionalProperties": False,
            },
            "files": {"c.yaml": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
        input_types={"@windlass.config": {"epochs": "int", "lr": "float"}, "files": {"c.yaml": {"a": "str"}}},
    )
    return save_job("known", evolve(spec, **changes), engine=world.engine, entity="team", project="demo")


def test_inputs_are_checked_when_submitted(world, queue):
    _job(world)
    request = LaunchRequest(
        job="known",
        queue="gpu",
        set=("epochs=0", "lrr=1"),
        files={"c.yaml": {"a": 5}, "d.yaml": {}},
    )
    with pytest.raises(ConfigError) as caught:
        submit(request, **world.given)
    text = str(caught.value)
    for part in (
        "$.run_config.epochs: must be at least 1",
        "did you mean 'lr'",
        "$.files.c.yaml.a: expected str",
        "no such config file",
    ):
        assert part in text
    assert submit(LaunchRequest(job="known:latest", queue="gpu", set=("epochs=3",)), **world.given).config == {
        "epochs": 3
    }


def test_schemas_of_a_run_are_kept_when_packaged_again(world):
    first = _job(world)
    plain = JobSpec(source=JobSource(kind=SourceKind.IMAGE, image="org/app:1"))
    again = save_job("known", plain, engine=world.engine, entity="team", project="demo")
    assert again.version == first.version
    rows = describe_job("known", engine=world.engine, entity="team", project="demo").inputs
    assert [(row.file, row.path, row.type, row.bounds) for row in rows] == [
        ("", "epochs", "int", "1 …"),
        ("", "lr", "float", ""),
        ("c.yaml", "a", "str", ""),
    ]


def test_a_described_job_has_the_values_of_the_run_it_was_found_out_from(world):
    source = JobSource(kind=SourceKind.IMAGE, image="a/b:1")
    had = {"lr": 0.5, "name": "é", "trainer": {"epochs": 3, "seed": 7}}
    spec = LaunchSpec(source=source, run_config={"trainer": {"seed": 7}})
    world.store.runs.create(Run(id="first", entity="team", project="demo", config=had, spec=spec))
    schemas, types = inputs_of(had, {})
    place = {"engine": world.engine, "entity": "team", "project": "demo"}
    save_job("known", JobSpec(source=source, input_schemas=schemas, input_types=types), **place, run="first")
    defaults = {row.path: row.default for row in describe_job("known", **place).inputs}
    assert defaults == {"lr": "0.5", "name": '"é"', "trainer.epochs": "3", "trainer.seed": ""}, (
        "the launch set the seed"
    )
    world.store.runs.update("first", RunUpdate(state=RunState.FINISHED))
    world.store.runs.delete("first")
    assert {row.default for row in describe_job("known", **place).inputs} == {""}


def test_a_repeated_submission_does_not_run_twice(world, code):
    request = LaunchRequest(image="org/app:1", queue="q", run_id="fixed-id")
    world.store.queues.create(Queue(entity="team", name="q", resource="boxes"))
    assert submit(request, **world.given).id == submit(request, **world.given).id == "fixed-id"


def test_the_claim_checks_again(world, code, queue):
    run = submit(LaunchRequest(image="a/b:1", queue="gpu", env={"SEED": "1"}), **world.given)
    assert plan_run(run, queue).env["SEED"] == "1"
    closed = evolve(queue, open_fields=(), templates={"cpus": TemplateVariable(type="integer", maximum=1)})
    with pytest.raises(ConfigError) as caught:
        plan_run(run, closed)
    assert {problem.where for problem in caught.value.problems} == {"$.env.SEED", "$.template_values.cpus"}
