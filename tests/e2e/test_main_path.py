"""The main path as a user types it: packaged, queued, claimed, run, logged, fetched again."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from windlass_testkit.services import PYTHON_IMAGE

TRAIN = """
import pickle
import sys

import windlass

with windlass.init(config={"lr": 0.1, "epochs": 2}) as run:
    print("training with", run.config["lr"], *sys.argv[1:], flush=True)
    for epoch in range(run.config["epochs"]):
        run.log({"loss": 1 / (epoch + 1)})
    model = windlass.Artifact("model", type="model")
    with model.new_file("model.pkl", mode="wb") as file:
        pickle.dump({"lr": run.config["lr"]}, file)
    run.log_artifact(model)
"""


def typed(*words: str, code: int = 0, **options) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "windlass_cli", *words],
        capture_output=True, text=True, timeout=100, check=False, stdin=subprocess.DEVNULL, **options,
    )  # fmt: skip
    assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture
def code(home: Path) -> Path:
    folder = Path("code")
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    return folder


def check_run(run_id: str, tmp_path: Path) -> None:
    run = json.loads(typed("run", "show", run_id, "--json").stdout)
    assert (run["state"], run["exit_code"]) == ("finished", 0)
    assert run["config"] == {"lr": 0.5, "epochs": 3}
    assert run["summary"]["loss"] == pytest.approx(1 / 3)
    assert run["metadata"]["python"]
    made = [(a["kind"], a["artifact"]) for a in run["artifacts"] if "/job-" not in a["artifact"]]
    assert made == [("output", "ann/proj/model:v0")]
    assert "training with 0.5 --seed 3" in typed("run", "logs", run_id, "-f").stdout
    listed = json.loads(typed("artifact", "ls", "proj", "-t", "model", "--json").stdout)
    assert [(a["name"], a["version"], a["aliases"], a["run"]) for a in listed] == [("model", "v0", ["latest"], run_id)]
    root = tmp_path / "fetched"
    typed("artifact", "get", "proj/model:latest", "--root", str(root))
    with (root / "model.pkl").open("rb") as file:
        assert pickle.load(file) == {"lr": 0.5}
    typed("artifact", "verify", "proj/model:v0")


def test_a_code_job_on_a_process_queue(code, tmp_path) -> None:
    Path("queue.yaml").write_text("env: ['SEED={{seed}}']\n")
    Path("templates.yaml").write_text("seed: {type: integer, default: 1}\n")
    typed("queue", "create", "q", "-r", "process", "-c", "queue.yaml", "--templates", "templates.yaml")
    launched = typed(
        "launch", "-u", "code", "-E", "python train.py", "-q", "q", "-p", "proj", "-v", "seed=3", "--set", "lr=0.5",
        "--set", "epochs=3", "--json", "--", "--seed", "3",
    )  # fmt: skip
    run = json.loads(launched.stdout)
    assert run["state"] == "queued"
    assert {"id", "name", "state", "reason", "entity", "project", "job", "queue", "exit_code"} <= set(run)
    assert json.loads(typed("queue", "show", "q", "--json").stdout)["status"]["queued"] == 1
    typed("launch-agent", "-q", "q", "--drain")
    check_run(run["id"], tmp_path)
    jobs = [job["path"] for job in json.loads(typed("job", "list", "--json").stdout)]
    assert run["job"] in jobs
    assert len(jobs) == 2  # the run has taught its job what it takes
    described = json.loads(typed("job", "describe", run["job"], "--json").stdout)
    assert described["source"]["entry_point"] == ["python", "train.py"]
    again = json.loads(typed("run", "retry", run["id"], "--json").stdout)
    typed("launch-agent", "-q", "q", "--drain")
    assert json.loads(typed("run", "show", again["id"], "--json").stdout)["state"] == "finished"


@pytest.mark.service("python-image")
def test_a_code_job_on_a_docker_queue(code, tmp_path) -> None:
    typed("queue", "create", "q", "-r", "docker")
    launched = typed(
        "launch", "-u", "code", "-E", "python train.py", "-q", "q", "-p", "proj", "--set", "lr=0.5", "--set",
        "epochs=3", "--base-image", PYTHON_IMAGE, "--json", "--", "--seed", "3",
    )  # fmt: skip
    run = json.loads(launched.stdout)
    typed("launch-agent", "-q", "q", "--drain")
    check_run(run["id"], tmp_path)


def test_here_and_now(code) -> None:
    done = typed("launch", "-u", "code", "-E", "python train.py", "--set", "epochs=1", "--", "now")
    assert done.stdout == "training with 0.1 now\n"
    assert "with the process runner" in done.stderr
    assert json.loads(typed("queue", "list", "--json").stdout) == []
    (run,) = json.loads(typed("run", "list", "--json").stdout)
    assert run["state"] == "finished"


def test_a_run_that_fails_here_fails_the_command(code) -> None:
    done = typed("launch", "-u", "code", "-E", "python -c 'import sys; sys.exit(7)'", code=1)
    assert "exit code 7" in done.stderr
    done = typed("launch", "-u", "code", "-E", "python -c 'import sys; sys.exit(7)'", "--json", code=1)
    assert json.loads(done.stdout)["exit_code"] == 7


def test_a_run_without_a_queue_is_run_again_here(code) -> None:
    (code / "odd.py").write_text("import sys\nprint('once more')\nsys.exit(3)\n")
    typed("launch", "-u", "code", "-E", "python odd.py", code=1)
    (run,) = json.loads(typed("run", "list", "--json").stdout)
    done = typed("run", "retry", run["id"], code=1)
    assert (done.stdout, "had no queue: running it again here" in done.stderr) == ("once more\n", True)
    again = json.loads(typed("run", "retry", run["id"], "--json", code=1).stdout)
    assert (again["state"], again["exit_code"], again["resource"]) == ("failed", 3, "process")
    assert json.loads(typed("queue", "list", "--json").stdout) == []
    assert "No run fits" in typed("run", "retry", "--state", "failed").stderr


def test_a_dry_run_stores_nothing(code) -> None:
    shown = json.loads(typed("launch", "-u", "code", "-E", "python train.py", "--dry-run", "--json").stdout)
    assert shown["plan"]["command"] == ["python", "train.py"]
    assert shown["origins"]["source.entry_point"] == "flag"
    assert json.loads(typed("run", "list", "--json").stdout) == []
    assert json.loads(typed("artifact", "ls", "--json").stdout) == []


def start(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "windlass_cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_ctrl_c_stops_the_run_and_leaves_nothing(code) -> None:
    (code / "sleep.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    with start("launch", "-u", "code", "-E", "python sleep.py") as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=40)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    (run,) = json.loads(typed("run", "list", "--json").stdout)
    assert (run["state"], run["reason"]["code"]) == ("killed", "stopped-by-user")
    assert json.loads(typed("queue", "list", "--json").stdout) == []


def test_stop_from_another_terminal(code) -> None:
    (code / "sleep.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    typed("queue", "create", "q", "-r", "process")
    run = json.loads(typed("launch", "-u", "code", "-E", "python sleep.py", "-q", "q", "--json").stdout)
    with start("launch-agent", "-q", "q", "--drain") as agent, start("run", "logs", "-f", run["id"]) as logs:
        assert logs.stdout.readline() == b"up\n"
        (row,) = json.loads(typed("agent", "list", "--json").stdout)
        assert row["runs"] == [run["id"]]
        typed("run", "stop", run["id"], "--wait")
        logs.communicate(timeout=30)
        agent.communicate(timeout=30)
    assert (agent.returncode, logs.returncode) == (0, 0)
    assert json.loads(typed("run", "show", run["id"], "--json").stdout)["state"] == "killed"
    typed("run", "delete", run["id"])
    assert "there is no run" in typed("run", "show", run["id"], code=1).stderr


def test_a_reader_that_goes_away_is_no_error(home) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "windlass_cli", "plugins", "list"],
            stdout=write, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert done.stderr == b""
    assert done.returncode == 141


def test_an_agent_that_is_asked_to_drain_ends(home) -> None:
    typed("queue", "create", "q", "-r", "process")
    with start("launch-agent", "-q", "q") as agent:
        deadline = time.monotonic() + 30
        while not (rows := json.loads(typed("agent", "list", "--json").stdout)) and time.monotonic() < deadline:
            time.sleep(0.1)
        typed("agent", "drain", rows[0]["id"])
        agent.communicate(timeout=60)
    assert agent.returncode == 0
