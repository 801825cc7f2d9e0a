"""Jobs and their inputs as a user types them: automatic jobs, inputs of config and files, headers, secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

MANAGED = """
import windlass
from windlass.sdk import launch

windlass.require("core")

config = {
    "trainer": {
        "learning_rate": 0.01,
        "batch_size": 32,
        "model": "resnet",
        "dataset": "cifar10",
        "private": {"key": "value"},
    },
    "seed": 42,
}

with windlass.init(config=config):
    launch.manage_windlass_config(include=["trainer"], exclude=["trainer.private"])
    print("lr", windlass.run.config["trainer"]["learning_rate"], launch.load_windlass_config(), flush=True)
"""
FILE = """
import yaml
import windlass
from windlass.sdk import launch

windlass.require("core")

launch.manage_config_file("config.yaml")

with open("config.yaml", "r") as f:
    text = f.read()
config = yaml.safe_load(text)

with windlass.init(config=config):
    print(text, flush=True)
"""
CONFIG = "# how fast\nlearning_rate: 0.01  # keep\nbatch_size: 32\nmodel: resnet\ndataset: cifar10\n"


def typed(*words: str, code: int = 0, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "windlass_cli", *words], capture_output=True, text=True, timeout=100, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout if not code else done.stderr


def inputs(job: str) -> dict[str, str]:
    described = json.loads(typed("job", "describe", job, "--json"))
    return {f"{row['file']}:{row['path']}": row["type"] for row in described["inputs"]}


def write(folder: str, **files: str) -> None:
    Path(folder).mkdir()
    for name, text in files.items():
        Path(folder, name.replace("__", ".")).write_text(text)


def test_the_chosen_part_of_the_config_is_input(home) -> None:
    write("code", main__py=MANAGED)
    assert "lr 0.01 {}" in typed("launch", "-u", "code", "-J", "managed")
    assert inputs("managed") == {
        ":trainer.learning_rate": "float",
        ":trainer.batch_size": "int",
        ":trainer.model": "str",
        ":trainer.dataset": "str",
    }
    out = typed("launch", "-j", "managed", "--set", "trainer.learning_rate=0.1")
    assert "lr 0.1 {'trainer': {'learning_rate': 0.1}}" in out
    assert "trainer.learning_rate" in typed("launch", "-j", "managed", "--set", "trainer.learning_rate=fast", code=2)
    assert "private" in typed("launch", "-j", "managed", "--set", "trainer.private.key=x", code=2)
    assert "seed" in typed("launch", "-j", "managed", "--set", "seed=1", code=2)


def test_a_config_file_is_input_and_keeps_its_comments(home) -> None:
    write("code", main__py=FILE, config__yaml=CONFIG)
    typed("launch", "-u", "code", "-J", "filed")
    assert inputs("filed") == {
        "config.yaml:learning_rate": "float",
        "config.yaml:batch_size": "int",
        "config.yaml:model": "str",
        "config.yaml:dataset": "str",
    }
    over = json.dumps({"files": {"config.yaml": {"learning_rate": 0.5}}})
    assert "# how fast\nlearning_rate: 0.5  # keep\nbatch_size: 32" in typed("launch", "-j", "filed", "-c", over)
    assert Path("code/config.yaml").read_text() == CONFIG
    wrong = json.dumps({"files": {"config.yaml": {"learning_rate": "x", "nope": 1}}})
    said = typed("launch", "-j", "filed", "-c", wrong, code=2)
    assert "learning_rate" in said
    assert "nope" in said


def test_values_for_a_file_that_nobody_declares(home) -> None:
    write("code", main__py="import windlass\nwith windlass.init(config={'a': 1}): print('ran')\n", config__yaml=CONFIG)
    over = json.dumps({"files": {"config.yaml": {"learning_rate": 0.5}}})
    out = typed("launch", "-u", "code", "-J", "plain", "-c", over)
    assert "values for config.yaml were not used" in out
    assert "declares no config files" in typed("launch", "-j", "plain", "-c", over, code=2)


@pytest.mark.service("docker")
def test_inputs_in_a_container(home, docker_base) -> None:
    write("code", main__py=FILE, config__yaml=CONFIG)
    typed("launch", "-u", "code", "-J", "filed", "-r", "docker", "-B", docker_base)
    assert inputs("filed")["config.yaml:batch_size"] == "int"
    over = json.dumps({"files": {"config.yaml": {"batch_size": 64}}})
    out = typed("launch", "-j", "filed", "-r", "docker", "-c", over)
    assert "learning_rate: 0.01  # keep\nbatch_size: 64\n" in out


@pytest.fixture
def docker_base() -> str:
    from windlass_testkit.services import PYTHON_IMAGE

    return PYTHON_IMAGE


def test_a_schema_of_ones_own_bounds_the_values(home) -> None:
    program = """
import dataclasses
import attrs
import windlass
from windlass.sdk import launch

@attrs.define
class Trainer:
    lr: float = 0.1

@dataclasses.dataclass
class Config:
    lr: float = 0.1
    epochs: int = 1

SCHEMA = {"type": "object", "properties": {"lr": {"type": "number", "maximum": 1}, "epochs": {"type": "integer"}}}
with windlass.init(config={"lr": 0.1, "epochs": 1}) as run:
    launch.manage_windlass_config(schema=Trainer)
    launch.manage_windlass_config(schema=Config)
    launch.manage_windlass_config(schema=SCHEMA)
    print("lr", run.config.lr)
"""
    write("code", main__py=program)
    typed("launch", "-u", "code", "-J", "bounded")
    rows = {r["path"]: r for r in json.loads(typed("job", "describe", "bounded", "--json"))["inputs"]}
    assert "1" in rows["lr"]["bounds"]
    assert "lr 0.9" in typed("launch", "-j", "bounded", "--set", "lr=0.9")
    assert "$.run_config.lr" in typed("launch", "-j", "bounded", "--set", "lr=7", code=2)


@pytest.fixture
def checkout(home) -> Path:
    """A clone with a pushed commit."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    write(
        "repo",
        train__py="import windlass\nwith windlass.init(config={'lr': 1}) as run:\n    print('v1', run.config.lr)\n",
    )
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd="repo", check=True)
    subprocess.run([*git, "clone", "-q", "--bare", "repo", "remote.git"], check=True)
    subprocess.run([*git, "remote", "add", "origin", str(Path("remote.git").resolve())], cwd="repo", check=True)
    return Path("repo").resolve()


def run_script(folder: Path, **env: str) -> None:
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, timeout=60, env={**os.environ, **env})


def jobs() -> dict[str, int]:
    found: dict[str, int] = {}
    for row in json.loads(typed("job", "list", "--json")):
        found[row["name"]] = found.get(row["name"], 0) + 1
    return found


def test_a_run_in_a_checkout_leaves_a_job_with_its_changes(checkout) -> None:
    run_script(checkout)
    run_script(checkout)
    ((name, versions),) = jobs().items()
    assert name.startswith("job-file____")
    assert name.endswith("remote.git-train.py")
    assert versions == 1
    program = checkout / "train.py"
    program.write_text(program.read_text().replace("v1", "v2"))
    run_script(checkout, WINDLASS_JOB_NAME="awesome")
    program.write_text("")
    assert "v2 0.5" in typed("launch", "-j", "awesome", "--set", "lr=0.5")
    run_script(checkout, WINDLASS_DISABLE_JOB_CREATION="true", WINDLASS_JOB_NAME="none")
    assert set(jobs()) == {name, "awesome"}


def test_logged_code_and_images_leave_jobs(home) -> None:
    program = (
        "import windlass\nrun = windlass.init(settings=windlass.Settings(job_name=NAME))\nrun.log_code()\nprint('hi')\n"
    )
    write("plain", train__py=program.replace("NAME", "None"))
    run_script(Path("plain"))
    run_script(Path("plain"), WINDLASS_DOCKER="registry.example/team/image:v3", WINDLASS_MODE="disabled")
    assert jobs() == {"job-source-uncategorized": 1}
    assert "hi" in typed("launch", "-j", "job-source-uncategorized")
    Path("plain/train.py").write_text(program.replace("NAME", "'mine'").replace("run.log_code()", ""))
    run_script(Path("plain"), WINDLASS_DOCKER="registry.example/team/image:v3")
    assert json.loads(typed("job", "describe", "mine", "--json"))["source"]["image"] == "registry.example/team/image:v3"


HEADER = """# /// script
# requires-python = ">=3.11"
# [tool.windlass]
# queue = "q"
# env = {SEED = "7"}
# secrets = {TOKEN = "env/ELSE"}
# ///
import os, sys
print(os.environ["SEED"], "token of", len(os.environ["TOKEN"]), sys.argv[1:])
"""


def test_a_scripts_header_and_a_queues_secrets(home, tmp_path) -> None:
    Path("a.py").write_text(HEADER)
    Path("q.yaml").write_text("secrets: {TOKEN: {secret: env/MINE}}\nenv: [{OTHER: {secret: env/MINE}}, A=1]\n")
    typed("queue", "create", "q", "-r", "process", "-c", "q.yaml", "--open", "env.SEED")
    launched = json.loads(typed("launch", "a.py", "--json", "--", "--x"))
    assert launched["queue"] == "q"
    typed("launch-agent", "-q", "q", "--drain", MINE="hush-hush", ELSE="evil")
    assert "7 token of 9 ['--x']" in typed("run", "logs", launched["id"])
    shown = typed("run", "show", launched["id"], "--json") + typed("queue", "show", "q", "--json")
    assert "hush" not in shown
    assert not [path for path in home.rglob("*") if path.is_file() and b"hush-hush" in path.read_bytes()]
    assert "4" in typed("launch", "a.py", "-r", "process", ELSE="evil")


def test_a_submitter_cannot_ask_for_the_agents_secrets(home) -> None:
    Path("a.py").write_text(HEADER)
    typed("queue", "create", "q", "-r", "process", "--open", "env", "--open", "resource_args")
    assert "cannot refer to the agent's secrets" in typed("launch", "a.py", code=2)
    args = json.dumps({"secrets": {"TOKEN": "env/HOME"}, "env": [{"X": {"secret": "env/HOME"}}]})
    said = typed("launch", "-u", "a.py", "-E", "python a.py", "-q", "q", "-R", args, code=2)
    assert "$.resource_args.secrets" in said
    assert "$.resource_args.env" in said


def test_one_bad_pin_is_named(home) -> None:
    write("code", main__py="print(1)\n", requirements__txt="six==99.99\n")
    said = typed("launch", "-u", "code", code=1)
    assert "the package six==99.99 cannot be installed" in said


def test_requirements_that_the_agent_lacks_are_only_named_when_the_queue_wants_no_environment(home) -> None:
    Path("q.yaml").write_text("builder: {venv: never}\n")
    typed("queue", "create", "q", "-r", "process", "-c", "q.yaml")
    write("code", main__py="print(1)\n", requirements__txt="no-such-package-of-ours\n")
    run = json.loads(typed("launch", "-u", "code", "-q", "q", "--json"))["id"]
    typed("launch-agent", "-q", "q", "--drain")
    assert "WARNING: requirements.txt asks for no-such-package-of-ours" in typed("run", "logs", "--build", run)


def test_a_run_says_where_it_comes_from(home) -> None:
    import base64

    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from windlass.trust.keys import generate_key

    program = """
import windlass
with windlass.init() as run:
    model = windlass.Artifact("model", type="model")
    with model.new_file("m.txt") as file:
        file.write("x")
    run.log_artifact(model)
"""
    write("code", main__py=program)
    typed("queue", "create", "q", "-r", "process", "--open", "resource_args.env")
    args = json.dumps({"env": ["A=1"]})
    run = json.loads(typed("launch", "-u", "code", "-q", "q", "-R", args, "--json"))["id"]
    typed("launch-agent", "-q", "q", "--drain")
    said = json.loads(typed("run", "provenance", run))
    assert [entry["name"] for entry in said["subject"]][1:] == ["ann/uncategorized/model:v0"]
    build = said["predicate"]["buildDefinition"]
    assert build["resolvedDependencies"][0]["name"] == "ann/uncategorized/code-code:v0"
    assert build["resolvedDependencies"][0]["digest"]["blake3"]
    assert build["internalParameters"]["resource_args"] == {"env": ["A=1"]}
    key = generate_key("key")
    envelope = json.loads(typed("run", "provenance", run, "--key", "key"))
    body, (signature,) = base64.b64decode(envelope["payload"]), envelope["signatures"]
    assert json.loads(body) == said
    kind = envelope["payloadType"].encode()
    data = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)
    assert key.public().verifies(base64.b64decode(signature["sig"]), data)
    plain = load_pem_private_key(Path("key").read_bytes(), None).public_key()
    plain.verify(base64.b64decode(signature["sig"]), data)  # as anybody would, without Windlass
    again = subprocess.run(
        [sys.executable, "-m", "windlass_cli", "run", "retry", run, "--exact", "--json"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "not pinned: packages: those installed beside the agent" in again.stderr
    Path("q.yaml").write_text("nice: 1\n")
    typed("queue", "update", "q", "-c", "q.yaml")
    again = subprocess.run(
        [sys.executable, "-m", "windlass_cli", "run", "retry", run, "--exact"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "the queue's config, which has changed: nice" in again.stderr
    typed("launch-agent", "-q", "q", "--drain")
    assert [r["state"] for r in json.loads(typed("run", "list", "--json"))] == ["finished"] * 3


def test_an_attempt_finds_its_predecessors_checkpoint(home) -> None:
    program = """
import sys
import time
import windlass
with windlass.init() as run:
    file = run.checkpoint_dir / "epoch"
    if not file.exists():
        file.write_text("3")
        sys.exit(7)
    print("going on at", file.read_text(), flush=True)
"""
    write("code", main__py=program)
    Path("policy.yaml").write_text("policy: {retries: {exit-code: 1}, retry_delay: 0}\n")
    run = json.loads(typed("launch", "-u", "code", "-c", "policy.yaml", "--json"))
    assert (run["state"], run["attempt"]) == ("finished", 2)
    assert "going on at 3" in typed("run", "logs", run["id"])
    assert not list((home / "checkpoints").iterdir())


def test_code_may_save_its_work_when_it_is_stopped(home) -> None:
    program = """
import time
import windlass
with windlass.init() as run:
    while not run.should_stop():
        print("working", flush=True)
        time.sleep(0.05)
    print("saved", flush=True)
"""
    write("code", main__py=program)
    typed("queue", "create", "q", "-r", "process")
    run = json.loads(typed("launch", "-u", "code", "-q", "q", "--json"))["id"]
    agent = subprocess.Popen([sys.executable, "-m", "windlass_cli", "launch-agent", "-q", "q", "--drain"])
    try:
        deadline = time.monotonic() + 60
        while "working" not in typed("run", "logs", run) and time.monotonic() < deadline:
            time.sleep(0.1)
        typed("run", "stop", run)
        assert agent.wait(60) == 0
    finally:
        agent.kill()
        agent.wait()
    assert "saved" in typed("run", "logs", run)
    assert json.loads(typed("run", "show", run, "--json"))["state"] == "killed"


@pytest.mark.service("docker")
def test_secrets_in_a_container(home, docker_base) -> None:
    write("code", main__py="import os\nprint('token of', len(os.environ['TOKEN']))\n")
    config = {"builder": {"base_image": docker_base}, "secrets": {"TOKEN": {"secret": "env/MINE"}}}
    Path("q.json").write_text(json.dumps(config))
    typed("queue", "create", "q", "-r", "docker", "-c", "q.json")
    run = json.loads(typed("launch", "-u", "code", "-q", "q", "--json"))["id"]
    typed("launch-agent", "-q", "q", "--drain", MINE="hush-hush")
    assert "token of 9" in typed("run", "logs", run)
    assert "hush" not in typed("run", "show", run, "--json") + typed("run", "provenance", run)
    assert not [path for path in home.rglob("*") if path.is_file() and b"hush-hush" in path.read_bytes()]


def test_an_agent_signs_in_at_git_hosts(home, monkeypatch) -> None:
    from windlass.launch.git import GitAccess
    from windlass_agent.config import load
    from windlass_agent.git_hosts import git_access

    Path("c.yaml").write_text(
        "git:\n  host.example: {token: {secret: env/GIT_TOKEN}, username: bot}\n  other.example: {ssh-key: ~/.ssh/k}\n"
    )
    monkeypatch.setenv("GIT_TOKEN", "hush")
    config = load("c.yaml")
    found = git_access(config)
    assert found["host.example"].token.reveal() == "hush"
    assert found["other.example"] == GitAccess(ssh_key="~/.ssh/k")
    assert "hush" not in repr(found) + repr(config)
    Path("c.yaml").write_text("git: {host.example: {token: a-plain-token}}\n")
    from windlass.errors import ConfigError

    with pytest.raises(ConfigError, match="no secret reference"):
        load("c.yaml")
