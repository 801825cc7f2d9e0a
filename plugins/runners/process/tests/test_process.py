"""What is particular to the process runner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.errors import ConfigError, RunnerError
from windlass.ids import new_run_id
from windlass.plugins.app import App
from windlass.runners import RunHandle, Runner, RunnerState, RunSpec, RunStatus
from windlass.settings import Settings


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))


@pytest.fixture
def run(app: App) -> Iterator[Callable[..., RunHandle]]:
    runner = app.create_runner("process")
    handles = []

    def start(script: str, **changes: Any) -> RunHandle:
        run_id = new_run_id()
        spec = RunSpec(run_id=run_id, attempt_id=run_id, command=("sh", "-c", script), **changes)
        handles.append(runner.submit(spec))
        return handles[-1]

    yield start
    for handle in handles:
        runner.cleanup(handle)


def end(runner: Runner, handle: RunHandle) -> RunStatus:
    limit = time.monotonic() + 20
    while not (status := runner.poll([handle])[handle]).state.is_terminal:
        assert time.monotonic() < limit
        time.sleep(0.01)
    return status


def text(runner: Runner, handle: RunHandle) -> str:
    return b"".join(line.data for line in runner.logs(handle)).decode()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def pids(path: Path, count: int) -> list[int]:
    limit = time.monotonic() + 10
    while not path.exists() or len(path.read_text().split()) < count:
        assert time.monotonic() < limit
        time.sleep(0.01)
    return [int(word) for word in path.read_text().split()]


def test_python_is_the_agents(app: App, run: Any) -> None:
    runner = app.create_runner("process")
    handle = run("python -c 'import sys; print(sys.prefix)'")
    assert end(runner, handle).state is RunnerState.FINISHED
    assert text(runner, handle).strip() == sys.prefix


def test_background_children_die_with_the_job(app: App, run: Any, tmp_path: Path) -> None:
    """Also those in sessions of their own, whose parents have ended."""
    runner = app.create_runner("process")
    file = tmp_path / "pids"
    handle = run(f"setsid sh -c '(sleep 300 & echo $! >> {file}) & wait' & sleep 300 & echo $! >> {file}; sleep 0.5")
    found = pids(file, 2)
    assert end(runner, handle).state is RunnerState.FINISHED
    assert all(gone(pid) for pid in found)


def test_stop_reaches_grandchildren(app: App, run: Any, tmp_path: Path) -> None:
    runner = app.create_runner("process")
    file = tmp_path / "pids"
    handle = run(f"trap '' TERM; (trap '' TERM; sleep 300 & echo $! >> {file}; wait) & echo $! >> {file}; wait; wait")
    found = pids(file, 2)
    runner.stop(handle, 0.2)
    assert end(runner, handle).state is RunnerState.STOPPED
    assert all(gone(pid) for pid in found)


def test_the_job_dies_with_its_supervisor(app: App, run: Any, tmp_path: Path) -> None:
    runner = app.create_runner("process")
    file = tmp_path / "pids"
    handle = run(f"echo $$ > {file}; exec sleep 300")
    (job,) = pids(file, 1)
    record = app.settings.home / "runs" / handle.id / "record"
    os.kill(int(record.read_text().split()[0]), signal.SIGKILL)
    assert end(runner, handle).state is RunnerState.LOST
    limit = time.monotonic() + 5
    while not gone(job):
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_survives_the_process_that_started_it(app: App) -> None:
    script = (
        "import os, sys\n"
        "from windlass.plugins import App\n"
        "from windlass.runners import RunSpec\n"
        "spec = RunSpec(run_id='r1', attempt_id='r1', command=('sh', '-c', 'sleep 0.5; echo done; exit 3'))\n"
        "App().create_runner('process').submit(spec)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    env = {**os.environ, "WINDLASS_HOME": str(app.settings.home)}
    starter = subprocess.run([sys.executable, "-c", script], env=env, start_new_session=True, timeout=30, check=False)
    assert starter.returncode == -9
    runner = app.create_runner("process")
    handle = runner.find("r1")
    assert handle is not None
    assert end(runner, handle).exit_code == 3
    assert text(runner, handle) == "done\n"
    runner.cleanup(handle)


def test_killed_before_the_start_is_started_again(app: App, run: Any) -> None:
    """A folder without a record: its agent died before the job's first instruction."""
    runner = app.create_runner("process")
    folder = app.settings.home / "runs" / "early"
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    assert runner.find("early") is None
    handle = runner.submit(RunSpec(run_id="early", attempt_id="early", command=("true",)))
    assert end(runner, handle).state is RunnerState.FINISHED
    runner.cleanup(handle)


def test_a_look_brings_back_nothing(app: App, run: Any) -> None:
    """The sweep of one agent looks for what another one is removing at that moment."""
    runner, other = app.create_runner("process"), app.create_runner("process")
    runs = Path(app.settings.home) / "runs"
    for _ in range(30):
        handle = run("true")
        end(runner, handle)
        over = threading.Event()

        def look(handle: RunHandle = handle, over: threading.Event = over) -> None:
            while not over.is_set():
                other.find(handle.id)

        thread = threading.Thread(target=look)
        thread.start()
        runner.cleanup(handle)
        over.set()
        thread.join(10)
        assert not list(runs.iterdir())


@pytest.mark.parametrize("content", [[], ["lock"], ["lock", "stop"]])
def test_what_was_never_started_is_cleared_away(app: App, content: list[str]) -> None:
    """Its agent died between making the folder and starting the job, and nobody starts it again."""
    folder = Path(app.settings.home) / "runs" / "r1"
    folder.mkdir(parents=True)
    for name in content:
        (folder / name).write_text("1.0")
    assert app.create_runner("process").find("r1") is None
    assert not folder.exists()


def test_a_pid_that_was_given_to_somebody_else(app: App, run: Any) -> None:
    runner = app.create_runner("process")
    handle = run("exit 0")
    end(runner, handle)
    folder = app.settings.home / "runs" / handle.id
    words = (folder / "record").read_text().split()
    (folder / "exit").unlink()
    (folder / "record").write_text(" ".join([str(os.getpid()), *words[1:]]))
    assert runner.poll([handle])[handle].state is RunnerState.LOST
    runner.stop(handle, 0.0)  # would kill the test itself
    runner.cleanup(handle)


def test_a_session_that_is_somebody_elses_by_now(app: App, run: Any) -> None:
    """The supervisor was killed long ago, and the job's number went to the session of a stranger."""
    runner = app.create_runner("process")
    handle = run("exit 0")
    end(runner, handle)
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        folder = app.settings.home / "runs" / handle.id
        words = (folder / "record").read_text().split()
        (folder / "exit").unlink()
        (folder / "record").write_text(" ".join([words[0], "1", words[2], str(stranger.pid), words[4]]))
        runner.cleanup(handle)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(10)


def test_after_a_reboot(app: App, run: Any) -> None:
    runner = app.create_runner("process")
    handle = run("exit 0")
    end(runner, handle)
    folder = app.settings.home / "runs" / handle.id
    words = (folder / "record").read_text().split()
    (folder / "exit").unlink()
    (folder / "record").write_text(" ".join([*words[:2], "another-boot", *words[3:]]))
    status = runner.poll([handle])[handle]
    assert status.state is RunnerState.LOST
    assert "restarted" in (status.reason.message if status.reason else "")


def test_signals_are_as_the_job_expects_them(app: App, run: Any) -> None:
    runner = app.create_runner("process")
    handle = run("grep -E 'SigIgn|SigBlk' /proc/self/status; yes | head -1; exit 0")
    end(runner, handle)
    blocked, ignored, output = text(runner, handle).splitlines()
    reserved = 1 << 31 | 1 << 32  # 32 and 33 belong to the C library; no program can send or block them
    assert int(blocked.split()[1], 16) & ~reserved == 0
    assert int(ignored.split()[1], 16) & ~reserved == 0
    assert output == "y"


def test_resource_arguments(app: App, run: Any, tmp_path: Path) -> None:
    runner = app.create_runner("process")
    (tmp_path / "code" / "sub").mkdir(parents=True)
    handle = run(
        "pwd; nice; ulimit -v; echo $NAME; nproc",
        work_dir=str(tmp_path / "code"),
        resource_args={"cwd": "sub", "nice": 3, "memory": "1g", "env": "NAME=x=y", "cpus": 1},
    )
    end(runner, handle)
    assert text(runner, handle).split() == [f"{tmp_path}/code/sub", str(os.nice(0) + 3), str(1 << 20), "x=y", "1"]


def test_a_job_that_is_refused_memory_is_out_of_memory(run: Any, app: App) -> None:
    runner = app.create_runner("process")
    greedy = f"exec {sys.executable} -c 'x = bytearray(600 << 20)'"
    status = end(runner, run(greedy, resource_args={"memory": "400m"}))
    assert (status.state, status.exit_code) == (RunnerState.FAILED, 1)
    assert status.reason is not None
    assert (status.reason.code, status.reason.context) == ("out-of-memory", {"exit_code": 1})
    for script, args in (
        ("echo MemoryError >&2; exit 0", {"memory": "400m"}),  # it went well in the end
        ("echo MemoryError >&2; exit 3", {}),  # nothing was limited
        ("exit 3", {"memory": "400m"}),
    ):
        reason = end(runner, run(script, resource_args=args)).reason
        assert reason is None or reason.code == "exit-code"


def test_a_killed_job_says_by_what(run: Any, app: App) -> None:
    reason = end(app.create_runner("process"), run("kill -9 $$")).reason
    assert reason is not None
    assert (reason.code, reason.context) == ("signal", {"signal": "SIGKILL", "exit_code": 137})


def test_environment_names_must_be_allowed(app: App, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "t")
    monkeypatch.setenv("EXTRA", "e")
    with pytest.raises(ConfigError, match="allow-env"):
        run("exit 0", resource_args={"env": ["MY_TOKEN"]})
    runner = app.create_runner("process", {"allow-env": ["MY_*"], "pass-env": ["EXTRA"]})
    spec = RunSpec(
        run_id="e", attempt_id="e", command=("sh", "-c", "echo $MY_TOKEN $EXTRA $MY_NONE"),
        resource_args={"env": ["MY_TOKEN", "MY_NONE"]},
    )  # fmt: skip
    handle = runner.submit(spec)
    end(runner, handle)
    assert text(runner, handle) == "t e\n"
    runner.cleanup(handle)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 200])
def test_names_cannot_lead_out_of_the_home(app: App, name: str) -> None:
    runner = app.create_runner("process")
    with pytest.raises(RunnerError):
        runner.submit(RunSpec(run_id="x", attempt_id=name, command=("true",)))
    with pytest.raises(RunnerError):
        runner.cleanup(RunHandle(runner="process", id=name, data={"dir": "/"}))


def test_no_command(app: App) -> None:
    with pytest.raises(ConfigError, match="command"):
        app.create_runner("process").submit(RunSpec(run_id="x", attempt_id="x"))


def test_files_are_for_the_owner_only(app: App, run: Any) -> None:
    handle = run("echo x")
    end(app.create_runner("process"), handle)
    folder = app.settings.home / "runs" / handle.id
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "stdout").stat().st_mode & 0o077 == 0


def test_a_program_that_is_nowhere_is_named_as_it_was_given(app: App, tmp_path: Path) -> None:
    runner = app.create_runner("process")
    for program in ("no-such-program", str(tmp_path / "no such\u00e9 program")):
        with pytest.raises(RunnerError) as caught:
            runner.submit(RunSpec(run_id="x", attempt_id="x", command=(program,)))
        assert caught.value.message == f"cannot be started: {program}: No such file or directory"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_job_that_fills_the_disk(small_disk: Path) -> None:
    """Its end is known, another one is refused with the reason, and what it left can be removed."""
    runner = App(Settings.from_env({"WINDLASS_HOME": str(small_disk)})).create_runner("process")
    spec = RunSpec(run_id="loud", attempt_id="loud", command=("sh", "-c", "yes; exit 3"))
    handle = runner.submit(spec)
    status = end(runner, handle)
    assert (status.state, status.exit_code) == (RunnerState.FAILED, 3), status
    with pytest.raises((RunnerError, OSError), match="No space"):
        runner.submit(RunSpec(run_id="next", attempt_id="next", command=("true",)))
    runner.cleanup(handle)
    assert not (small_disk / "runs" / "loud").exists()
    handle = runner.submit(RunSpec(run_id="next", attempt_id="next", command=("true",)))
    assert end(runner, handle).state is RunnerState.FINISHED
    runner.cleanup(handle)


def test_what_a_killed_supervisor_left_on_a_full_disk(small_disk: Path) -> None:
    runner = App(Settings.from_env({"WINDLASS_HOME": str(small_disk)})).create_runner("process")
    handle = runner.submit(RunSpec(run_id="loud", attempt_id="loud", command=("sh", "-c", "yes; sleep 60")))
    record = small_disk / "runs" / "loud" / "record"
    limit = time.monotonic() + 20
    while os.statvfs(small_disk).f_bavail:
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.kill(int(record.read_text().split()[0]), signal.SIGKILL)
    end(runner, handle)
    runner.cleanup(handle)
    assert not record.parent.exists()
