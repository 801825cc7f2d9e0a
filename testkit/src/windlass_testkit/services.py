"""Real services for tests: who needs one says so, and is skipped with a reason, or failed where it is required.

This module is a pytest plugin (loaded by its entry point). A test asks for a service by a mark, or by a fixture of
`windlass_testkit.servers`::

    @pytest.mark.service("docker")
    def test_with_an_engine(): ...

On a developer's machine a missing service skips the test and says what is missing. ``WINDLASS_TEST_REQUIRE=all`` or
a list (``docker,postgresql``) turns that into a failure, so that CI cannot go green by testing nothing. More services
are added from a ``conftest.py`` with `add_service`.
"""

from __future__ import annotations

import functools
import glob
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

__all__ = ["SERVICES", "add_service", "missing", "program", "require", "required", "search_path"]

pytest.register_assert_rewrite(
    *(
        f"windlass_testkit.{name}"
        for name in (
            "base", "builders", "environments", "metastores", "registries", "runners", "serializers", "storage",
        )
    )
)  # fmt: skip

Probe = Callable[[], str]
"""Returns why the service cannot be used, in a few words; empty when it can."""


def program(name: str, *folders: str) -> str:
    """Path of a program on ``PATH`` or in one of the folders (globs, the last match wins); empty if there is none."""
    found = shutil.which(name)
    if found:
        return found
    for folder in folders:
        matches = sorted(glob.glob(os.path.join(folder, name)))
        if matches:
            return matches[-1]
    return ""


def search_path() -> str:
    """``PATH`` with the folder of this Python first, where uv and the like are installed beside it."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def _needs(name: str, *folders: str) -> Probe:
    return lambda: "" if program(name, "/usr/sbin", "/usr/local/bin", *folders) else f"no program {name} here"


def docker_socket() -> str:
    """Path of the Docker engine's socket; empty when ``DOCKER_HOST`` names something else."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    return host.removeprefix("unix://") if host.startswith("unix://") else ""


def docker_get(path: str, timeout: float = 5.0) -> tuple[int, bytes]:
    """One GET request to the Docker engine: status and body. Raises `OSError` when it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(docker_socket())
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        raise OSError("the engine's answer is not HTTP")
    return int(words[1]), body


def _docker() -> str:
    if not docker_socket():
        return "DOCKER_HOST is not a unix socket"
    try:
        status, _ = docker_get("/_ping")
    except OSError as error:
        return f"no engine answers at {docker_socket()}: {error.strerror or error}"
    return "" if status == 200 else f"the engine at {docker_socket()} answers {status}"


PYTHON_IMAGE = "local/python-host:3.11"
"""A local image with a Python interpreter, for tests that must not pull from the network."""


def _python_image() -> str:
    problem = _docker()
    if problem:
        return problem
    status, _ = docker_get(f"/images/{PYTHON_IMAGE}/json")
    return "" if status == 200 else f"no image {PYTHON_IMAGE} in the engine"


def _git_daemon() -> str:
    git = program("git")
    if not git:
        return "no program git here"
    folder = subprocess.run(
        [git, "--exec-path"], capture_output=True, text=True, timeout=30, check=False
    ).stdout.strip()
    return "" if (Path(folder) / "git-daemon").exists() else f"no git-daemon in {folder}"


POSTGRESQL_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin")

SERVICES: dict[str, Probe] = {
    "docker": _docker,
    "python-image": _python_image,
    "postgresql": _needs("initdb", *POSTGRESQL_FOLDERS),
    "registry": _needs("docker-registry"),
    "git": _needs("git"),
    "git-daemon": _git_daemon,
    "nginx": _needs("nginx"),
    "sshd": _needs("sshd"),
    "fcgiwrap": _needs("fcgiwrap"),
    "slurm": _needs("sbatch"),
    "kubectl": _needs("kubectl"),
    "node": _needs("node"),
    "uv": _needs("uv", str(Path(sys.executable).parent)),
}
"""Known services and how to find out whether they can be used."""


def add_service(name: str, probe: Probe) -> None:
    """Make one more service known; `probe` returns why it cannot be used, or an empty text."""
    SERVICES[name] = probe
    missing.cache_clear()


@functools.cache
def missing(name: str) -> str:
    """Why a service cannot be used, empty when it can. Found out once in a process."""
    try:
        return SERVICES[name]()
    except (OSError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}"


def required(name: str) -> bool:
    """True when a missing service must fail the test: ``WINDLASS_TEST_REQUIRE`` is ``all`` or lists it."""
    wanted = {word.strip() for word in os.environ.get("WINDLASS_TEST_REQUIRE", "").split(",")}
    return "all" in wanted or name in wanted


def require(*names: str) -> None:
    """Skip the running test, or fail it where that is required, unless these services can be used."""
    for name in names:
        if name not in SERVICES:
            pytest.fail(f"unknown service {name!r}; known: {', '.join(sorted(SERVICES))}", pytrace=False)
        problem = missing(name)
        if problem and required(name):
            pytest.fail(f"WINDLASS_TEST_REQUIRE asks for {name}, but: {problem}", pytrace=False)
        if problem:
            pytest.skip(f"needs {name}: {problem}")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks, also for projects that use the kit elsewhere."""
    config.addinivalue_line("markers", "service(name, ...): needs real services; skipped with a reason when missing")
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the services before any fixture of the test is made."""
    require(*_wanted(item.iter_markers("service")))


def _wanted(marks: Iterable[pytest.Mark]) -> list[str]:
    return sorted({str(name) for mark in marks for name in mark.args})
