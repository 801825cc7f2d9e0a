"""Requests that do not fit: one error with every problem, its place and advice; nothing is stored."""

from __future__ import annotations

import pytest

from windlass.errors import ConfigError
from windlass.launch.inputs import CONFIG_KEY
from windlass.launch.jobs import save_job
from windlass.launch.submit import LaunchRequest, resolve, submit
from windlass.models.artifact import ArtifactFilter
from windlass.models.job import JobSource, JobSpec, SourceKind
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import Queue, TemplateVariable
from windlass.models.run import RunFilter

IMAGE = {"image": "org/app:1", "queue": "q"}
CODE = {"uri": "@code", "resource": "bare"}

CASES = [
    ({}, "nothing to launch", "launch"),
    ({"uri": "@code", "image": "a"}, "uri and image are given", "launch"),
    ({"uri": "/surely/none", "queue": "q"}, "no such file or directory", "--uri"),
    ({"uri": "ext::sh -c x", "queue": "q"}, "white space", "--uri"),
    ({"uri": "--upload-pack=x", "queue": "q"}, "starts with '-'", "--uri"),
    ({"uri": "http://h/x", "queue": "q"}, "plain http", "--uri"),
    ({"uri": "https://u:p@h/x", "queue": "q"}, "password", "--uri"),
    ({"uri": "@empty", "queue": "q", "entry_point": "python x.py"}, "holds no code", "empty"),
    ({"uri": "@nomain", "queue": "q"}, "no entry point", "--entry-point"),
    ({"uri": "@code", "queue": "q", "git_hash": "main"}, "no git hash", "--git-hash"),
    ({"uri": "@code", "queue": "q", "build_context": "nope"}, "no directory 'nope'", "--build-context"),
    ({"uri": "@code", "queue": "q", "build_context": "../x"}, "'..'", "--build-context"),
    ({"uri": "@code", "queue": "q", "build_context": "/x"}, "not relative", "--build-context"),
    ({"uri": "@code", "queue": "q", "dockerfile": "Nope"}, "no file 'Nope'", "--dockerfile"),
    ({"uri": "@code", "queue": "q", "dockerfile": "a/../../b"}, "'..'", "--dockerfile"),
    ({"uri": "@code", "queue": "q", "base_image": "A B"}, "white space", "--base-image"),
    ({"uri": "@code", "queue": "q", "entry_point": "python 'x"}, "cannot be split", "--entry-point"),
    ({"uri": "@code", "queue": "q", "entry_point": "  "}, "an empty program", "--entry-point"),
    ({**CODE, "overrides": "@over:entry_point: ' '"}, "an empty program", "over.yaml:1 ($.entry_point)"),
    ({"uri": "@code", "queue": "q", "job_name": "a/b"}, "characters other than", "--job-name"),
    ({"uri": "@code", "queue": "q", "job_name": "x" * 200}, "1 to 128", "--job-name"),
    ({"image": "UP/per:x y", "queue": "q"}, "white space", "--docker-image"),
    ({"image": "org/app:1", "queue": "q", "dockerfile": "D"}, "not built", "--dockerfile"),
    ({"image": "org/app:1", "queue": "q", "git_hash": "x"}, "needs a git URI", "--git-hash"),
    ({"job": "no-such-job", "queue": "q"}, "no-such-job", ""),
    ({"image": "org/app:1", "queue": "none"}, "none", "--queue"),
    ({**IMAGE, "priority": "urgent"}, "unknown priority", "--priority"),
    ({**IMAGE, "priority": "high"}, "has no priorities", "--priority"),
    ({**IMAGE, "resource": "slurm"}, "runs on boxes", "$.resource"),
    ({**IMAGE, "run_id": "Bad Id"}, "is no run id", "--run-id"),
    ({**IMAGE, "template_values": ("cpus",)}, "NAME=VALUE", "--set-var"),
    ({**IMAGE, "template_values": ("cpus=1", "cpus=2")}, "given twice", "--set-var"),
    ({**IMAGE, "template_values": ("cpus=99",)}, "above the maximum", "$.template_values.cpus"),
    ({**IMAGE, "template_values": ("gpus=1",)}, "no template field 'gpus'", "$.template_values.gpus"),
    ({**IMAGE, "resource_args": "{bad"}, "not well-formed JSON", "--resource-args"),
    ({**IMAGE, "resource_args": "/no/such/file.yaml"}, "does not exist", "/no/such/file.yaml"),
    ({**IMAGE, "resource_args": {"privileged": True}}, "does not let submitters", "$.resource_args.privileged"),
    ({**IMAGE, "resource_args": {"memory": {"secret": "env/HOME"}}}, "agent's secrets", "$.resource_args.memory"),
    ({**IMAGE, "resource_args": {"memory": "${HOME}"}}, "unknown macro", "$.resource_args.memory"),
    ({**IMAGE, "env": {"LD_PRELOAD": "x"}}, "does not let submitters", "$.env.LD_PRELOAD"),
    ({**IMAGE, "env": {"WINDLASS_API_KEY": "x"}}, "set by Windlass", "$.env.WINDLASS_API_KEY"),
    ({**IMAGE, "env": {"A=B": "x"}}, "no name of a variable", "$.env.A=B"),
    ({**IMAGE, "files": {"c.yaml": 3}}, "expected a mapping", "$.files.c.yaml"),
    ({**IMAGE, "set": ("lr=.inf", "x=.nan")}, "inf cannot be passed on", "$.run_config.lr"),
    ({**IMAGE, "run_config": {"a": {"b": [1, float("nan")]}}}, "nan cannot be passed on", "$.run_config.a.b[1]"),
    ({**IMAGE, "files": {"c": {"x": float("inf")}}}, "inf cannot be passed on", "$.files.c.x"),
    ({**IMAGE, "resource_args": '{"memory": Infinity}'}, "inf cannot be passed on", "$.resource_args.memory"),
    ({**IMAGE, "overrides": "@over:files: {c.yaml: [1]}"}, "launch has 1 problem;", "$.files.c.yaml"),
    ({**IMAGE, "files": {"../x": {"a": 1}}}, "'..'", "$.files.../x"),
    ({**IMAGE, "files": {"/etc/x": {"a": 1}}}, "not relative", "$.files./etc/x"),
    ({**IMAGE, "files": {"./c.yaml": {"a": 1}}}, "'c.yaml'", "$.files../c.yaml"),
    ({**IMAGE, "project": "a/b"}, "not a valid project", "--project"),
    ({**IMAGE, "project": ".."}, "not a valid project", "--project"),
    ({**IMAGE, "project": "a\nb"}, "not a valid project", "--project"),
    ({**IMAGE, "project": "x" * 200}, "not a valid project", "--project"),
    ({**CODE, "entity": "a/b"}, "not a valid entity", "--entity"),
    ({**CODE, "aliases": ("good", "bad:alias")}, "not a valid alias", "--alias"),
    ({**IMAGE, "set": ("a..b=1",)}, "empty key", "--set"),
    ({**IMAGE, "set": ("a",)}, "NAME=VALUE", "--set"),
    ({**IMAGE, "set": ("a=[1",)}, "not well-formed", "--set"),
    ({**IMAGE, "set": ("a\\b=1",)}, "stray backslash", "--set"),
    ({**IMAGE, "policy": LaunchPolicy(deadline=5)}, "does not let submitters", "$.policy.deadline"),
    ({**IMAGE, "policy": LaunchPolicy(attempt_timeout=500)}, "more than the queue", "$.policy.attempt_timeout"),
    ({**IMAGE, "policy": LaunchPolicy(retries={"luck": 1})}, "unknown cause", "$.policy.retries.luck"),
    ({**IMAGE, "policy": LaunchPolicy(retry_delay=-1)}, "must not be negative", "$.policy.retry_delay"),
    ({**IMAGE, "policy": LaunchPolicy(retry_delay=1e13)}, "10000000000000.0 is too much", "$.policy.retry_delay"),
    ({**IMAGE, "policy": LaunchPolicy(retry_delay=float("inf"))}, "inf is too much", "$.policy.retry_delay"),
    ({**IMAGE, "depends_on": ("nobody",)}, "nobody", "--after"),
    ({**IMAGE, "overrides": "/no/such.yaml"}, "does not exist", "/no/such.yaml"),
    ({**IMAGE, "overrides": "@over:run_confg: {a: 1}"}, "did you mean 'run_config'", "over.yaml:1"),
    ({**IMAGE, "overrides": "@over:\nargs: {a: 1}"}, "$.args", "over.yaml:2"),
    ({**IMAGE, "overrides": "@over:a: [1"}, "not well-formed", "over.yaml"),
    ({**CODE, "overrides": "@over:build_context: ../x\ndockerfile: /D"}, "'../x': it holds '..'", "$.build_context"),
    ({**CODE, "overrides": "@over:build_context: ../x\ndockerfile: /D"}, "'/D': it is not relative", "$.dockerfile"),
    ({**CODE, "overrides": "@over:build_context: nosuch"}, "no directory 'nosuch'", "$.build_context"),
    ({**CODE, "overrides": "@over:dockerfile: nosuch"}, "no file 'nosuch'", "$.dockerfile"),
    ({**CODE, "overrides": "@over:base_image: 'bad image #'"}, "white space", "$.base_image"),
    ({**CODE, "overrides": "@over:entry_point: python nope.py"}, "no file 'nope.py'", "$.entry_point"),
    ({**CODE, "overrides": "@over:build_context: pkg"}, "no file 'main.py'", "$.entry_point"),
    ({**CODE, "overrides": "@over:entry_point: python ../main.py"}, "leads out", "$.entry_point"),
    ({**IMAGE, "overrides": "@over:dockerfile: D"}, "not built", "$.dockerfile"),
    ({**CODE, "build_context": "../x", "dockerfile": "/D"}, "'../x': it holds '..'", "--build-context"),
    ({**CODE, "build_context": "../x", "dockerfile": "/D"}, "'/D': it is not relative", "--dockerfile"),
    ({**IMAGE, "overrides": "@over:- 1"}, "expected a mapping", "over.yaml"),
    ({"image": "org/app:1", "resource": "warp-drive"}, "warp-drive", "--resource"),
    ({"image": "org/app:1", "resource": "bare"}, "runs no container images", "--docker-image"),
    ({**CODE, "entry_point": "python nope.py"}, "no file 'nope.py'", "--entry-point"),
    ({**CODE, "entry_point": "python ../main.py"}, "leads out", "--entry-point"),
    ({**CODE, "python": "3.2"}, "too old", "--runtime"),
    ({**CODE, "python": "new"}, "no Python version", "--runtime"),
    ({**IMAGE, "python": "3.12"}, "not built", "--runtime"),
]


@pytest.mark.parametrize(("fields", "message", "where"), CASES, ids=[c[1] + "|" + c[2] for c in CASES])
def test_one_clear_error_and_nothing_stored(world, code, tmp_path, fields, message, where):
    (tmp_path / "empty").mkdir()
    (tmp_path / "nomain").mkdir()
    (tmp_path / "nomain" / "other.py").write_text("")
    world.store.queues.create(
        Queue(
            entity="team",
            name="q",
            resource="boxes",
            config={"cpus": "{{cpus}}"},
            templates={"cpus": TemplateVariable(type="integer", default=1, maximum=8)},
            open_fields=("resource_args.memory", "env.A", "env.WINDLASS_API_KEY"),
            policy_max=LaunchPolicy(attempt_timeout=100, retry_delay=10),
        )
    )
    given = dict(fields)
    uri = given.get("uri", "")
    if uri.startswith("@"):
        given["uri"] = str(tmp_path / uri[1:])
    over = str(given.get("overrides", ""))
    if over.startswith("@over:"):
        (tmp_path / "over.yaml").write_text(over.removeprefix("@over:"))
        given["overrides"] = str(tmp_path / "over.yaml")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        submit(LaunchRequest(**given), **world.given)
    error = caught.value
    assert error.exit_code == 2
    assert message in str(error)
    hit = [problem for problem in error.problems if message in str(problem)] or list(error.problems)
    assert where in hit[0].where
    assert hit[0].hint or where, "neither a place nor advice"
    assert not world.store.artifacts.list(ArtifactFilter(entity="team"))
    assert not world.store.runs.list(RunFilter())
    assert [queue.name for queue in world.store.queues.list("team")] == ["q"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_all_problems_at_once(world):
    with pytest.raises(ConfigError) as caught:
        submit(
            LaunchRequest(uri="/none", queue="none", priority="x", set=("a",), template_values=("b",), run_id="!"),
            **world.given,
        )
    assert len(caught.value.problems) == 6


def test_all_problems_of_an_overrides_file_are_said_with_their_lines(world, tmp_path):
    world.store.queues.create(Queue(entity="team", name="q", resource="boxes"))
    over = tmp_path / "o.yaml"
    over.write_text(
        "run_config: {lr: .nan}\npolicy:\n  max: 1\n  stop_grace: -3\nenv:\n  A: 1\n  B: x\nfoo: 1\n"
        "priority: hot\ndepends_on: [nobody]\nentry_point: python 'x\nfiles:\n  c.d.yaml:\n    lr: .inf\n"
    )
    with pytest.raises(ConfigError) as caught:
        resolve(LaunchRequest(**IMAGE, overrides=over), **world.given)
    assert {problem.where.removeprefix(f"{over}:") for problem in caught.value.problems} == {
        "1 ($.run_config.lr)", "3 ($.policy.max)", "4 ($.policy.stop_grace)", "6 ($.env.A)", "7 ($.env.B)", "8 ($.foo)",
        "9 ($.priority)", "10 ($.depends_on[0])", "11 ($.entry_point)",
        "14 ($.files.c.d.yaml.lr)",
    }  # fmt: skip


def test_files_that_an_existing_job_does_not_declare(world):
    source = JobSource(kind=SourceKind.IMAGE, image="org/app:1")
    for name, files in (("some", {"c.yaml": {}}), ("none", {})):
        schemas = {CONFIG_KEY: {"type": "object"}, "files": files}
        save_job(
            name, JobSpec(source=source, input_schemas=schemas), engine=world.engine, entity="team", project="demo"
        )
    asked = LaunchRequest(job="some", resource="boxes", files={"c.yaml": {"lr": 3}})
    assert resolve(asked, **world.given).item.spec.files == {"c.yaml": {"lr": 3}}
    for job, said in (("some", r"no such config file \(c.yaml\)"), ("none", "declares no config files")):
        with pytest.raises(ConfigError, match=said):
            resolve(LaunchRequest(job=job, resource="boxes", files={"other.yaml": {"lr": 3}}), **world.given)
