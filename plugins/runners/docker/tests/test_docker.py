"""What is particular to the docker runner."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.errors import ConfigError, RunnerError, SubmitError
from windlass.ids import new_run_id
from windlass.plugins.app import App
from windlass.runners import RunHandle, RunnerState, RunSpec, RunStatus
from windlass.settings import Settings
from windlass_runner_docker import runner as runner_module
from windlass_runner_docker.options import container_options, read_args
from windlass_runner_docker.output import entries, parse_cursor, read
from windlass_testkit.services import PYTHON_IMAGE, docker_socket
from windlass_testkit.simulators.switch import Switch

needs_engine = pytest.mark.service("docker", "python-image")


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))


@pytest.fixture
def run(app: App) -> Iterator[Callable[..., RunHandle]]:
    runner = app.create_runner("docker")
    handles = []

    def start(script: str, **changes: Any) -> RunHandle:
        run_id = new_run_id()
        spec = RunSpec(run_id=run_id, attempt_id=run_id, command=("sh", "-c", script), image=PYTHON_IMAGE, **changes)
        handles.append(runner.submit(spec))
        return handles[-1]

    yield start
    for handle in handles:
        runner.cleanup(handle)
    runner.close()


def end(runner: Any, handle: RunHandle) -> RunStatus:
    limit = time.monotonic() + 60
    while not (status := runner.poll([handle])[handle]).state.is_terminal:
        assert time.monotonic() < limit
        time.sleep(0.05)
    return status


# -- options --------------------------------------------------------------------------------------------------------


def options(**resource_args: Any) -> dict[str, Any]:
    spec = RunSpec(run_id="r", attempt_id="r", image="i", command=("a", "b"))
    given = {key.replace("_", "-"): value for key, value in resource_args.items()}
    found: dict[str, Any] = container_options(spec, read_args(given), ("MY_*",), {"MY_ONE": "1", "OTHER": "2"})
    return found


def test_options_of_the_documents() -> None:
    found = options(env=["A=b", "MY_ONE"], volume="/mnt/datasets:/mnt/datasets", rm=True, gpus="all")
    assert found["environment"] == {"A": "b", "MY_ONE": "1"}
    assert found["volumes"] == ["/mnt/datasets:/mnt/datasets"]
    assert found["device_requests"][0]["Count"] == -1
    assert (found["entrypoint"], found["command"]) == (["a"], ["b"])


@pytest.mark.parametrize(
    ("given", "key", "wanted"),
    [
        ({"memory": "2g"}, "mem_limit", 2 << 30),
        ({"m": "512m"}, "mem_limit", 512 << 20),
        ({"shm-size": "1g"}, "shm_size", 1 << 30),
        ({"memory-swap": -1}, "memswap_limit", -1),
        ({"cpus": 1.5}, "nano_cpus", 1_500_000_000),
        ({"cpus": "2"}, "nano_cpus", 2_000_000_000),
        ({"network": "none"}, "network", "none"),
        ({"net": "host"}, "network", "host"),
        ({"user": 1000}, "user", "1000"),
        ({"w": "/x"}, "working_dir", "/x"),
        ({"pids-limit": 5}, "pids_limit", 5),
        ({"privileged": True}, "privileged", True),
        ({"cap-add": ["SYS_PTRACE"]}, "cap_add", ["SYS_PTRACE"]),
        ({"publish": "127.0.0.1:8080:80"}, "ports", {"80": ("127.0.0.1", 8080)}),
        ({"add-host": ["a:1.2.3.4"]}, "extra_hosts", {"a": "1.2.3.4"}),
        ({"tmpfs": ["/t:size=1m"]}, "tmpfs", {"/t": "size=1m"}),
        ({"entrypoint": "/e"}, "entrypoint", ["/e"]),
    ],
)
def test_each_option(given: dict[str, Any], key: str, wanted: Any) -> None:
    assert options(**given)[key] == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"shm-sise": "1g"}, "shm-size"),
        ({"memory": "much"}, "memory"),
        ({"gpus": "some"}, "gpus"),
        ({"ulimit": ["nofile=x"]}, "ulimit"),
        ({"env": ["OTHER"]}, "allow-env"),
        ({"rm": "yes"}, "rm"),
        ({"m": "1g", "memory": "2g"}, "twice"),
        ({"cpus": [1]}, "cpus"),
    ],
)
def test_mistakes_in_options(given: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options(**given)
    assert wanted in str(caught.value)


def test_the_owner_cannot_take_our_labels() -> None:
    assert options(label=["windlass.run=other", "team=x"])["labels"] == {
        "windlass.attempt": "r", "windlass.run": "r", "team": "x",
    }  # fmt: skip


# -- output ---------------------------------------------------------------------------------------------------------


def frame(stream: int, nanoseconds: int, data: bytes) -> bytes:
    seconds, rest = divmod(nanoseconds, 10**9)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z "
    body = stamp.encode() + data
    return bytes([stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body


def test_cursors_survive_equal_and_disordered_times() -> None:
    """Wherever reading is broken off, and whatever the times are, every entry comes once and in order."""
    chance = random.Random(7)
    now = 1_700_000_000 * 10**9
    log = []
    for number in range(400):
        now += chance.choice([0, 0, 1, 1000, 10**7, 3 * 10**8])
        late = chance.choice([0, 0, 10**6, 4 * 10**8])
        log.append((chance.choice([1, 2]), now - late, b"%d\n" % number))
    cursor, got = "", []
    while True:
        anchor, _ = parse_cursor(cursor)
        answer = b"".join(frame(*entry) for entry in log if entry[1] >= anchor)
        cuts = [answer[i : i + 37] for i in range(0, len(answer), 37)]
        lines = list(read(entries(cuts), cursor))[: chance.randrange(1, 9)]
        if not lines:
            break
        got += [line.data for line in lines]
        cursor = lines[-1].cursor
    assert got == [data for _, _, data in log]


def test_the_end_of_a_long_line() -> None:
    pieces = [frame(1, 10**18, b"x" * 16384), frame(1, 10**18, b"end")]
    assert b"".join(data for _, _, data in entries(pieces)) == b"x" * 16384 + b"end\n"
    both = [frame(1, 10**18, b"x" * 16384), frame(2, 10**18, b"last"), frame(1, 10**18, b""), frame(1, 10**18, b"end")]
    assert [data[-4:] for _, _, data in entries(both)] == [b"xxxx", b"last", b"\n", b"end"]


@needs_engine
@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_output_is_what_was_written(
    app: App, run: Callable[..., RunHandle], driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_LOG", {"Type": driver})
    script = "printf 'a\\n\\n'; printf %020000d 7; printf '\\nlast'; printf error >&2"
    handle = run(script)
    runner = app.create_runner("docker")
    end(runner, handle)
    lines = list(runner.logs(handle, ""))
    assert b"".join(line.data for line in lines if line.stream == "stdout") == b"a\n\n%020000d\nlast" % 7
    assert b"".join(line.data for line in lines if line.stream == "stderr") == b"error"
    runner.close()


# -- the engine -----------------------------------------------------------------------------------------------------


@needs_engine
def test_killed_between_create_and_start(app: App, run: Any) -> None:
    """The container is there and was never started: submitting starts it, and nobody adopts it."""
    runner: Any = app.create_runner("docker")
    spec = RunSpec(run_id="c", attempt_id=new_run_id(), command=("sh", "-c", "echo on"), image=PYTHON_IMAGE)
    wrapped = runner.wrapped
    made = (spec, read_args({}), container_options(spec, read_args({}), (), {}))
    wrapped._create(*made)
    with wrapped._lock(spec.attempt_id):  # somebody starts it at this moment
        assert runner.find(spec.attempt_id) is None
        assert wrapped._inspect(spec.attempt_id) is not None
    assert runner.find(spec.attempt_id) is None
    assert wrapped._inspect(spec.attempt_id) is None, "it would stay for ever when the run ends unstarted"
    wrapped._create(*made)
    handle = runner.submit(spec)
    try:
        assert end(runner, handle).state is RunnerState.FINISHED
        assert runner.submit(spec) == handle
        assert [line.data for line in runner.logs(handle)] == [b"on\n"]
    finally:
        runner.cleanup(handle)
        runner.close()


@needs_engine
def test_another_agent_ends_the_grace(app: App, run: Any) -> None:
    first, second = app.create_runner("docker"), app.create_runner("docker")
    handle = run("trap '' TERM; while :; do sleep 0.05; done")
    first.stop(handle, 0.3)
    first.close()
    status = end(second, handle)
    assert (status.state, status.exit_code) == (RunnerState.STOPPED, 137)
    second.close()


@needs_engine
def test_init_passes_on_signals(app: App, run: Any) -> None:
    """The first process of a container ignores signals it has no handler for; the init does not."""
    runner = app.create_runner("docker")
    handle = run("exec sleep 60")
    began = time.monotonic()
    runner.stop(handle, 30.0)
    assert end(runner, handle).state is RunnerState.STOPPED
    assert time.monotonic() - began < 10
    runner.close()


@needs_engine
def test_out_of_memory(app: App, run: Any) -> None:
    runner = app.create_runner("docker")
    handle = run("exec python3 -c 'x = bytearray(200_000_000); x[::4096] = b\"1\" * len(x[::4096])'",
                 resource_args={"memory": "32m", "memory-swap": "32m"})  # fmt: skip
    status = end(runner, handle)
    assert status.state is RunnerState.FAILED
    assert status.reason is not None
    assert status.reason.code == "out-of-memory"
    runner.close()


@needs_engine
def test_a_child_that_ran_out_of_memory(app: App, run: Any) -> None:
    """Code that gets over it has not failed."""
    runner = app.create_runner("docker")
    eat = "python3 -c 'x = bytearray(200_000_000); x[::4096] = b\"1\" * len(x[::4096])'"
    small = {"memory": "32m", "memory-swap": "32m"}
    assert end(runner, run(f"{eat}; echo over it", resource_args=small)).state is RunnerState.FINISHED
    status = end(runner, run(f"{eat} || exit 3", resource_args=small))
    assert (status.state, status.exit_code) == (RunnerState.FAILED, 3)
    assert status.reason is not None
    assert (status.reason.code, "one of its processes" in status.reason.message) == ("out-of-memory", True)
    runner.close()


@needs_engine
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK's, when it cannot connect
@pytest.mark.parametrize("keep", [False, True], ids=["gone", "on its way"])
def test_an_engine_that_is_stopped_ends_its_containers(tmp_path: Path, app: App, run: Any, keep: bool) -> None:
    """That is not the code's failure, whether the engine ceased to answer before or after their end was seen."""
    with Switch(str(tmp_path / "s"), docker_socket()) as switch:
        runner = app.create_runner("docker", {"docker-host": f"unix://{tmp_path}/s"})
        handle, survivor = run("exec sleep 60"), run("exec sleep 60")
        assert runner.poll([handle, survivor])[handle].state is RunnerState.RUNNING
        switch.off(keep=keep)
        direct: Any = app.create_runner("docker")
        direct.wrapped._kill(handle.id, "SIGTERM")
        end(direct, handle)
        with pytest.raises(RunnerError):
            runner.poll([handle, survivor])
        switch.on()
        statuses = runner.poll([handle, survivor])
        assert statuses[survivor].state is RunnerState.RUNNING
        assert (statuses[handle].state, statuses[handle].exit_code) == (RunnerState.FAILED, 143)
        assert statuses[handle].reason is not None
        assert statuses[handle].reason.code == "infrastructure"
        direct.wrapped._kill(survivor.id, "SIGTERM")
        status = end(runner, survivor)
        assert status.reason is not None
        assert status.reason.code == "signal", "the engine was there all the time"
        direct.close()
        runner.close()


@needs_engine
def test_missing_image(app: App) -> None:
    runner = app.create_runner("docker")
    spec = RunSpec(run_id="m", attempt_id=new_run_id(), command=("x",), image="127.0.0.1:1/none/such:1",)  # fmt: skip
    with pytest.raises(SubmitError, match="none/such"):
        runner.submit(spec)
    assert runner.find(spec.attempt_id) is None
    with pytest.raises(SubmitError, match="no image"):
        runner.submit(RunSpec(run_id="m", attempt_id=new_run_id(), image="local/none", resource_args={"pull": "never"}))
    runner.close()


def test_no_engine(tmp_path: Path) -> None:
    from windlass.errors import WindlassError

    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path)}))
    with pytest.raises(WindlassError, match="does not answer"):
        app.create_runner("docker", {"docker-host": f"unix://{tmp_path}/none.sock"}).check()


@needs_engine
def test_memory_that_ran_out_is_told_by_events_too(
    app: App, run: Callable[..., RunHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the engine hears of it after the end, and its state never says so."""
    runner = app.create_runner("docker")
    inspect = runner_module.DockerRunner._inspect

    def forgetful(self: Any, attempt_id: str) -> Any:
        found = inspect(self, attempt_id)
        if found is not None:
            found["State"]["OOMKilled"] = False
        return found

    monkeypatch.setattr(runner_module.DockerRunner, "_inspect", forgetful)
    out = run("exec python3 -c 'x = bytearray(1 << 30)'", resource_args={"memory": "32m"})
    other = run("exit 137", resource_args={"memory": "32m"})
    assert [end(runner, handle).reason.code for handle in (out, other)] == ["out-of-memory", "signal"]
    runner.close()
