"""Starting real servers for tests: free ports, processes that are ended by pid, one server for all xdist workers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from windlass_testkit.services import POSTGRESQL_FOLDERS, program, require

__all__ = ["Running", "alive", "free_port", "postgresql_server", "postgresql_url", "registry_server",
           "restart_postgresql", "shared", "start", "start_postgresql", "stop", "stop_shared",
           "wait_for_port"]  # fmt: skip


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@frozen(kw_only=True)
class Running:
    """A started server. Plain JSON, so that any worker can use and stop it.

    Attributes:
        pid: Its process, which leads a process group of its own.
        folder: Directory that belongs to it and is removed with it; empty if there is none.
        facts: What its users need to know (port, user …).
    """

    pid: int
    folder: str = ""
    facts: Mapping[str, Any] = field(factory=dict)


def alive(pid: int) -> bool:
    """True while a process runs; one that has ended and was not waited for counts as ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return not Path("/proc/self").exists()
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def start(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, user: str | None = None) -> int:
    """Start a program in a session of its own with its output in `log`; returns its pid."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            start_new_session=True,
            user=user,
        )
    process.returncode = 0  # it is ended by pid, by whichever worker is the last; nobody waits on this object
    return process.pid


def stop(pid: int, grace: float = 10.0) -> None:
    """End a process that `start` began, and its group: SIGTERM, and SIGKILL after `grace` seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        end = time.monotonic() + grace
        while alive(pid) and time.monotonic() < end:
            time.sleep(0.02)
        if not alive(pid):
            break
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def wait_for_port(port: int, *, pid: int = 0, log: Path | None = None, timeout: float = 30.0) -> None:
    """Wait until something listens on a port of the loopback interface.

    Raises:
        RuntimeError: Nothing did in time, or the process `pid` ended before; quotes the end of `log`.
    """
    end = time.monotonic() + timeout
    while time.monotonic() < end and (not pid or alive(pid)):
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    tail = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
    raise RuntimeError(f"nothing listens on port {port} after {timeout:g} s\n{tail}")


@contextlib.contextmanager
def shared(factory: pytest.TempPathFactory, name: str, begin: Callable[[], Running]) -> Iterator[Running]:
    """One server for all xdist workers of a test session: the first user starts it, the last one stops it."""
    root = factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        root = root.parent
    record = root / f"service-{name}.json"
    with _locked(root / f"service-{name}.lock"):
        state = json.loads(record.read_text()) if record.exists() else None
        if state is None or not alive(state["pid"]):
            running = begin()
            state = {"pid": running.pid, "folder": running.folder, "facts": dict(running.facts), "users": 0}
        state["users"] += 1
        record.write_text(json.dumps(state))
    try:
        yield Running(pid=state["pid"], folder=state["folder"], facts=state["facts"])
    finally:
        with _locked(root / f"service-{name}.lock"):
            state = json.loads(record.read_text())
            state["users"] -= 1
            if state["users"] <= 0:
                _end(record)
            else:
                record.write_text(json.dumps(state))


def stop_shared(root: Path) -> None:
    """Stop what is left of `shared` below the folder of a session that was interrupted: its workers end unasked."""
    for record in root.glob("service-*.json"):
        with _locked(record.with_suffix(".lock")):
            _end(record)


def _end(record: Path) -> None:
    """Stop the server of a record, and remove both."""
    state = json.loads(record.read_text())
    stop(state["pid"])
    if state["folder"]:
        shutil.rmtree(state["folder"], ignore_errors=True)
    record.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- PostgreSQL -----------------------------------------------------------------------------------------------------


def start_postgresql() -> Running:
    """A PostgreSQL server on a new folder, which is the caller's to stop and to remove.

    `facts` has ``port``, ``user`` and ``account`` (whom it runs as; empty: us). It does not wait for the disk: data
    outlives its processes, not the machine.
    """
    # PostgreSQL refuses to run as root, and pytest's directories are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="windlass-postgresql-"))
    account = ""
    if os.getuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        account = "postgres" if "postgres" in names else "nobody"
        shutil.chown(folder, account)
    try:
        subprocess.run(
            [program("initdb", *POSTGRESQL_FOLDERS), "-D", str(folder / "data"), "-U", "windlass", "-A", "trust", "-N",
             "-E", "UTF8", "--locale", "C"],
            check=True, capture_output=True, timeout=60, user=account or None, cwd="/",
        )  # fmt: skip
        facts = {"port": free_port(), "user": "windlass", "account": account}
        return restart_postgresql(Running(pid=0, folder=str(folder), facts=facts))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def restart_postgresql(server: Running, timeout: float = 60.0) -> Running:
    """Start the server on its folder and port, after its end or its death, and wait until it answers."""
    folder, port = Path(server.folder), int(server.facts["port"])
    end = time.monotonic() + timeout
    while True:
        pid = start(
            [program("postgres", *POSTGRESQL_FOLDERS), "-D", str(folder / "data"), "-h", "127.0.0.1", "-p", str(port),
             "-k", str(folder), "-c", "fsync=off", "-c", "max_connections=200"],
            log=folder / "log", user=server.facts["account"] or None,
        )  # fmt: skip
        try:
            wait_for_port(port, pid=pid, log=folder / "log")
        except RuntimeError:
            # Processes of one that was killed end a moment later, and keep its memory as long.
            stop(pid)
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            break
    ready = [program("pg_isready", *POSTGRESQL_FOLDERS), "-h", "127.0.0.1", "-p", str(port), "-q"]
    while alive(pid) and time.monotonic() < end and subprocess.run(ready, check=False, timeout=30).returncode:
        time.sleep(0.02)  # it listens before it has recovered
    return Running(pid=pid, folder=server.folder, facts=server.facts)


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A PostgreSQL server of this test session. `facts` has ``port`` and ``user``; no password."""
    require("postgresql")
    with shared(tmp_path_factory, "postgresql", start_postgresql) as running:
        yield running


@pytest.fixture
def postgresql_url(postgresql_server: Running) -> Iterator[str]:
    """URL of an empty database that belongs to this test alone."""
    facts = postgresql_server.facts
    name = f"t{uuid.uuid4().hex[:16]}"
    tools = ["-h", "127.0.0.1", "-p", str(facts["port"]), "-U", facts["user"]]
    subprocess.run(
        [program("createdb", *POSTGRESQL_FOLDERS), *tools, name], check=True, capture_output=True, timeout=60
    )
    yield f"postgresql://{facts['user']}@127.0.0.1:{facts['port']}/{name}"
    subprocess.run(
        [program("dropdb", *POSTGRESQL_FOLDERS), *tools, "--force", name], check=True, capture_output=True, timeout=60
    )


# -- container registry ---------------------------------------------------------------------------------------------


def _start_registry() -> Running:
    folder, port = Path(tempfile.mkdtemp(prefix="windlass-registry-")), free_port()
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: warn}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    try:
        pid = start([program("docker-registry"), "serve", str(config)], log=folder / "log")
        wait_for_port(port, pid=pid, log=folder / "log")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Running(pid=pid, folder=str(folder), facts={"port": port})


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``127.0.0.1:<port>`` of a container registry without sign-in, shared by this test session."""
    require("registry")
    with shared(tmp_path_factory, "registry", _start_registry) as running:
        yield f"127.0.0.1:{running.facts['port']}"
