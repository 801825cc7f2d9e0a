"""Whatever is typed wrong gets one clear error with its place and what to do, exit code 2, and changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FILES = {
    "notyaml.yaml": "env: [a, b\n",
    "list.yaml": "- a\n- b\n",
    "tabs.yaml": "env:\n  A: 1\n\t\tB: 2\n x",
    "twice.yaml": "nice: 1\nnice: 2\n",
    "unknown.yaml": "envv: [A=1]\n",
    "type.yaml": "nice: high\n",
    "range.yaml": "nice: 99\n",
    "secret.yaml": "env: [A=1]\npassword: {secret: env/X}\n",
    "field.yaml": "env: ['A={{x}}']\n",
    "macro.yaml": "env: ['A=${HOME}']\n",
    "latin.yaml": b"env: [\xff]\n",
    "broken.json": '{"env": [',
    "template_unused.yaml": "y: {type: integer}\n",
    "template_type.yaml": "x: {type: boolean}\n",
    "template_key.yaml": "x: {tpye: integer}\n",
    "template_bounds.yaml": "x: {type: integer, minimum: 5, maximum: 1}\n",
    "template_default.yaml": "x: {type: integer, default: many}\n",
    "template_text.yaml": "x: 5\n",
    "policy_key.yaml": "retry: 3\n",
    "policy_cause.yaml": "retries: {bad-luck: 3}\n",
    "policy_negative.yaml": "attempt_timeout: -1\n",
    "agent_key.yaml": "queues: [q]\nmaxjobs: 3\n",
    "agent_type.yaml": "queues: [q]\nmax_jobs: many\n",
    "agent_builder.yaml": "queues: [q]\nbuilder: {destination: x}\n",
    "agent_no_such_builder.yaml": "queues: [q]\nbuilder: {type: dokcer}\n",
    "agent_choice.yaml": "queues: [q]\non-stop: explode\n",
    "agent_runner.yaml": "queues: [q]\nrunners: {proces: {}}\n",
    "over_key.yaml": "run_confg: {a: 1}\n",
    "over_type.yaml": "args: 5\n",
    "over_quote.yaml": "entry_point: 'python \"a'\n",
    "empty/__pycache__/x.pyc": "",
    "code/train.py": "print(1)\n",
    "no_hook.py": "x = 1\n",
    "raises.py": "x = 1\nraise ValueError('boom')\n",
    "syntax.py": "def f(:\n",
    "wrong_kind.py": (
        "from windlass.plugins import hookimpl\n\n\n@hookimpl\ndef windlass_runners():\n    yield 'a runner'\n"
    ),
    "wrong_name.py": (
        "from windlass.plugins import hookimpl, RunnerPlugin\nimport attrs\n\n\n@attrs.frozen\nclass C:\n    pass\n\n\n"
        "@hookimpl\ndef windlass_runners():\n"
        "    yield RunnerPlugin(name='My Runner', summary='', config=C, create=lambda c, x: None)\n"
    ),
}
LAUNCH = ("launch", "-u", "code", "-E", "python train.py")
QUEUE = ("queue", "create", "new", "-r", "process")

CASES = {
    # words on the command line
    "no-such-command": (("lunch",), "launch"),
    "no-such-subcommand": (("queue", "craete"), "create"),
    "no-such-option": (("queue", "list", "--jsn"), "queue list"),
    "missing-argument": (("queue", "create", "-r", "process"), "queue create"),
    "missing-option": (("queue", "create", "new"), "--resource"),
    "too-many-arguments": (("queue", "show", "a", "b"), "queue show"),
    "no-number": (("run", "list", "--limit", "many"), "--limit"),
    "limit-of-zero": (("run", "list", "--limit", "0"), "--limit"),
    "no-such-state": (("run", "list", "--state", "asleep"), "--state"),
    "no-such-priority": ((*LAUNCH, "-q", "q", "-P", "now"), "--priority"),
    "max-jobs": (("launch-agent", "-q", "q", "-j", "-2"), "--max-jobs"),
    "port": (("server", "--port", "99999"), "--port"),
    "stop-without-id": (("run", "stop"), "run stop"),
    "job-kind": (("job", "create", "zip", "code"), "job create"),
    # queues
    "queue-name": (("queue", "create", "a b/c", "-r", "process"), "a b/c"),
    "queue-resource": (("queue", "create", "new", "-r", "proces"), "process"),
    "queue-config-missing": ((*QUEUE, "-c", "nothing.yaml"), "nothing.yaml"),
    "queue-config-directory": ((*QUEUE, "-c", "code"), "code"),
    "queue-config-yaml": ((*QUEUE, "-c", "notyaml.yaml"), "notyaml.yaml:"),
    "queue-config-tabs": ((*QUEUE, "-c", "tabs.yaml"), "tabs.yaml:"),
    "queue-config-list": ((*QUEUE, "-c", "list.yaml"), "list.yaml"),
    "queue-config-twice": ((*QUEUE, "-c", "twice.yaml"), "twice.yaml:2"),
    "queue-config-unknown-key": ((*QUEUE, "-c", "unknown.yaml"), "did you mean 'env'"),
    "queue-config-type": ((*QUEUE, "-c", "type.yaml"), "type.yaml:1"),
    "queue-config-range": ((*QUEUE, "-c", "range.yaml"), "range.yaml:1"),
    "queue-config-utf8": ((*QUEUE, "-c", "latin.yaml"), "latin.yaml"),
    "queue-config-json": ((*QUEUE, "-c", "broken.json"), "broken.json:1"),
    "queue-config-secret": ((*QUEUE, "-c", "secret.yaml"), "secret"),
    "queue-config-macro": ((*QUEUE, "-c", "macro.yaml"), "unknown macro ${HOME}"),
    "queue-config-undeclared": ((*QUEUE, "-c", "field.yaml"), "{{x}} is not declared"),
    "retry-none": (("run", "retry"), "no run is named"),
    "queue-open-field": ((*QUEUE, "--open", "everything"), "everything"),
    "queue-concurrency": ((*QUEUE, "--concurrency", "-1"), "--concurrency"),
    "template-unused": ((*QUEUE, "-c", "field.yaml", "--templates", "template_unused.yaml"), "y"),
    "template-type": ((*QUEUE, "-c", "field.yaml", "--templates", "template_type.yaml"), "boolean"),
    "template-key": ((*QUEUE, "-c", "field.yaml", "--templates", "template_key.yaml"), "template_key.yaml:1"),
    "template-bounds": ((*QUEUE, "-c", "field.yaml", "--templates", "template_bounds.yaml"), "minimum"),
    "template-default": ((*QUEUE, "-c", "field.yaml", "--templates", "template_default.yaml"), "default"),
    "template-mapping": ((*QUEUE, "-c", "field.yaml", "--templates", "template_text.yaml"), "template_text.yaml:1"),
    "policy-key": ((*QUEUE, "--policy", "policy_key.yaml"), "policy_key.yaml:1"),
    "policy-cause": ((*QUEUE, "--policy", "policy_cause.yaml"), "bad-luck"),
    "policy-negative": ((*QUEUE, "--policy", "policy_negative.yaml"), "attempt_timeout"),
    # launches
    "launch-nothing": (("launch",), "--uri"),
    "launch-two-sources": (("launch", "-u", "code", "-d", "image"), "uri and image"),
    "launch-no-directory": (("launch", "-u", "./nothing", "-E", "python a.py"), "nothing"),
    "launch-empty-directory": (("launch", "-u", "empty", "-E", "python a.py"), "empty"),
    "launch-no-entry-point": (("launch", "-u", "code"), "--entry-point"),
    "launch-quotes": (("launch", "-u", "code", "-E", 'python "train.py'), "--entry-point"),
    "launch-context-escapes": ((*LAUNCH, "--build-context", "../.."), "--build-context"),
    "launch-context-missing": ((*LAUNCH, "--build-context", "sub"), "--build-context"),
    "launch-dockerfile-missing": ((*LAUNCH, "--dockerfile", "Dockerfile.x"), "--dockerfile"),
    "launch-git-hash": ((*LAUNCH, "-g", "abc"), "--git-hash"),
    "launch-image-name": (("launch", "-d", "Not An Image", "-q", "q"), "--docker-image"),
    "launch-image-dockerfile": (("launch", "-d", "image", "-D", "Dockerfile", "-q", "q"), "--dockerfile"),
    "launch-git-option": (("launch", "-u", "https://--upload-pack=x/r.git", "-E", "python a.py"), "launch"),
    "launch-git-ext": (("launch", "-u", "ext::sh -c id", "-E", "python a.py"), "ext"),
    "launch-no-queue": ((*LAUNCH, "-q", "nothing"), "--queue"),
    "launch-job-name": ((*LAUNCH, "-q", "q", "-J", "a/b"), "--job-name"),
    "launch-variable-form": ((*LAUNCH, "-q", "q", "-v", "x"), "NAME=VALUE"),
    "launch-variable-unknown": ((*LAUNCH, "-q", "q", "-v", "sede=1"), "seed"),
    "launch-variable-type": ((*LAUNCH, "-q", "q", "-v", "seed=one"), "seed"),
    "launch-variable-bounds": ((*LAUNCH, "-q", "q", "-v", "seed=99"), "seed"),
    "launch-variable-twice": ((*LAUNCH, "-q", "q", "-v", "seed=1", "-v", "seed=2"), "twice"),
    "launch-set-form": ((*LAUNCH, "-q", "q", "--set", "lr"), "--set"),
    "launch-set-path": ((*LAUNCH, "-q", "q", "--set", "a..b=1"), "--set"),
    "launch-env-form": ((*LAUNCH, "-q", "q", "--env", "A"), "--env"),
    "launch-env-closed": ((*LAUNCH, "-q", "q", "--env", "LD_PRELOAD=x"), "LD_PRELOAD"),
    "launch-args-closed": ((*LAUNCH, "-q", "q", "-R", '{"nice": 5}'), "nice"),
    "launch-args-json": ((*LAUNCH, "-q", "q", "-R", '{"nice": '), "--resource-args"),
    "launch-args-file": ((*LAUNCH, "-q", "q", "-R", "nothing.yaml"), "nothing.yaml"),
    "launch-priority": ((*LAUNCH, "-q", "q", "-P", "high"), "--priority"),
    "launch-resource": ((*LAUNCH, "-r", "proces"), "process"),
    "launch-no-wait": ((*LAUNCH, "--no-wait"), "--queue"),
    "launch-after": ((*LAUNCH, "-q", "q", "--after", "nobody"), "nobody"),
    "launch-overrides-key": ((*LAUNCH, "-q", "q", "-c", "over_key.yaml"), "run_config"),
    "launch-overrides-type": ((*LAUNCH, "-q", "q", "-c", "over_type.yaml"), "over_type.yaml:1"),
    "launch-overrides-quote": ((*LAUNCH, "-q", "q", "-c", "over_quote.yaml"), "over_quote.yaml:1"),
    "launch-overrides-missing": ((*LAUNCH, "-q", "q", "-c", "nothing.json"), "nothing.json"),
    "launch-image-on-process": (("launch", "-d", "image", "-q", "q"), "--docker-image"),
    # agents
    "agent-no-queue": (("launch-agent",), "-q"),
    "agent-config-missing": (("launch-agent", "-c", "nothing.yaml"), "nothing.yaml"),
    "agent-config-key": (("launch-agent", "-c", "agent_key.yaml"), "agent_key.yaml:2"),
    "agent-config-type": (("launch-agent", "-c", "agent_type.yaml"), "agent_type.yaml:2"),
    "agent-config-builder": (("launch-agent", "-c", "agent_builder.yaml"), "agent_builder.yaml:2"),
    "agent-config-plugin": (("launch-agent", "-c", "agent_no_such_builder.yaml"), "docker"),
    "agent-config-choice": (("launch-agent", "-c", "agent_choice.yaml"), "agent_choice.yaml:2"),
    "agent-config-runner": (("launch-agent", "-c", "agent_runner.yaml"), "process"),
    # jobs, artifacts, runs
    "job-git-directory": (("job", "create", "git", "code"), "job create code"),
    "job-code-uri": (("job", "create", "code", "https://host/repo.git"), "job create git"),
    "artifact-no-file": (("artifact", "put", "nothing"), "nothing"),
    "artifact-name": (("artifact", "put", "code", "-n", "a b"), "a b"),
    "artifact-slashes": (("artifact", "put", "code", "-n", "a/b/c/d"), "--name"),
    "artifact-alias": (("artifact", "put", "code", "-a", "v3"), "v3"),
    "artifact-alias-slash": (("artifact", "put", "code", "-a", "a/b"), "a/b"),
    "artifact-type": (("artifact", "put", "code", "-t", "a/b"), "a/b"),
    "artifact-reserved-type": (("artifact", "put", "code", "-t", "job"), "job"),
    "artifact-metadata": (("artifact", "put", "code", "--metadata", "{broken"), "--metadata"),
    "artifact-metadata-list": (("artifact", "put", "code", "--metadata", "list.yaml"), "--metadata"),
    "artifact-ref": (("artifact", "get", "a/b/c/d"), "a/b/c/d"),
    "cache-size": (("artifact", "cache", "cleanup", "lots"), "lots"),
    # plugins
    "plugin-kind": (("plugins", "show", "motor", "process"), "runner"),
    "plugin-name": (("plugins", "show", "runner", "proces"), "process"),
    "plugin-list-kind": (("plugins", "list", "--kind", "motor"), "runner"),
    "plugin-check-key": (("plugins", "check", "runner", "process", "-c", "unknown.yaml"), "unknown.yaml:1"),
    "plugin-check-list": (("plugins", "check", "runner", "process", "-c", "list.yaml"), "list.yaml"),
    "login-address": (("login", "example"), "HOST"),
}

ENVIRONMENT = {
    "lease": ({"WINDLASS_LEASE_SECONDS": "soon"}, "WINDLASS_LEASE_SECONDS"),
    "lease-negative": ({"WINDLASS_LEASE_SECONDS": "-1"}, "WINDLASS_LEASE_SECONDS"),
    "attempt": ({"WINDLASS_ATTEMPT": "first"}, "WINDLASS_ATTEMPT"),
    "mode": ({"WINDLASS_MODE": "sometimes"}, "mode"),
    "store-scheme": ({"WINDLASS_BASE_URL": "mongo://host/db"}, "WINDLASS_BASE_URL"),
    "store-no-scheme": ({"WINDLASS_BASE_URL": "host"}, "host"),
}

PLUGIN_FILES = {
    "missing": ("nothing.py", "nothing.py", 1),
    "no-hook": ("no_hook.py", "no_hook.py", 1),
    "raises": ("raises.py", "raises.py:2", 1),
    "syntax": ("syntax.py", "syntax.py", 1),
    "wrong-kind": ("wrong_kind.py", "RunnerPlugin", 1),
    "wrong-name": ("wrong_name.py", "My Runner", 1),
}


@pytest.fixture
def files(home: Path) -> Path:
    for name, text in FILES.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    Path("queue.yaml").write_text("env: ['SEED={{seed}}']\n")
    Path("templates.yaml").write_text("seed: {type: integer, default: 1, maximum: 9}\n")
    return home


def everything(windlass) -> list[object]:
    """All that could have been changed."""
    found = [windlass(*words, "--json") for words in (("queue", "list"), ("run", "list"), ("artifact", "ls"))]
    return [result.json for result in found] + [windlass("artifact", "ls", "code", "--json").json]


def check_error(result, needle: str, code: int = 2) -> None:
    assert result.code == code, result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    errors = [line for line in result.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, result.err
    assert needle in result.err, result.err
    text = result.err.partition("error:")[2]
    assert re.search(r"hint: \S", text), result.err  # says what to do


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_gets_one_error_and_changes_nothing(case, windlass, files) -> None:
    words, needle = CASES[case]
    assert (
        windlass("queue", "create", "q", "-r", "process", "-c", "queue.yaml", "--templates", "templates.yaml").code == 0
    )
    before = everything(windlass)
    check_error(windlass(*words), needle)
    assert everything(windlass) == before


@pytest.mark.parametrize("case", ENVIRONMENT)
def test_a_wrong_variable_is_named(case, windlass, files, monkeypatch) -> None:
    variables, needle = ENVIRONMENT[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check_error(windlass("run", "list"), needle)


@pytest.mark.parametrize("case", PLUGIN_FILES)
def test_a_broken_plugin_file_is_named(case, windlass, files) -> None:
    path, needle, code = PLUGIN_FILES[case]
    check_error(windlass("--plugin", path, "plugins", "list"), needle, code)


def test_there_are_many_of_them() -> None:
    assert len(CASES) + len(ENVIRONMENT) + len(PLUGIN_FILES) >= 100
