"""Requirements from lock files, through the tools that wrote them, and from conda's environment files.

A tool sees copies of the project's own files alone, in a directory made for it, so that no interpreter, plugin or
config of the source runs here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from windlass.config.document import loads, loads_toml
from windlass.errors import ConfigError
from windlass.launch.safe import read_text

__all__ = ["from_environment", "from_poetry_lock", "from_uv_lock", "program"]

_TIMEOUT = 300.0
_PLAIN = re.compile(r"\s*(?:[\w.-]+::)?(?:python|pip)\s*(?:[=<>!~ ].*)?$")
_MINE = "Run it yourself, and put the requirements.txt that it writes beside the lock file."


def program(name: str) -> str:
    """Path of a tool beside this Python or on the path; empty if it is not installed."""
    return shutil.which(name, path=os.path.dirname(sys.executable)) or shutil.which(name) or ""


def from_uv_lock(root: Path) -> list[str]:
    """The packages of ``uv.lock``, pinned, without the project itself and its development groups.

    Raises:
        ConfigError: uv is not installed, or cannot export it.
    """
    uv = program("uv")
    command = "uv export --frozen --no-dev --no-emit-project --no-hashes -o requirements.txt"
    if not uv:
        raise ConfigError("uv.lock needs the program uv on the agent's machine", where="uv.lock",
                          hint=f"pip install uv there, or: {command}")  # fmt: skip
    return _export(
        root, "uv.lock", command,
        [uv, "export", "--frozen", "--no-dev", "--no-emit-workspace", "--no-hashes", "--no-header", "--no-annotate",
         "--no-config", "--offline", "--no-python-downloads", "--python", sys.executable, "--quiet"],
    )  # fmt: skip


def from_poetry_lock(root: Path) -> list[str] | None:
    """The packages of ``poetry.lock``, pinned; None where poetry is missing and the project lists its dependencies.

    Raises:
        ConfigError: Poetry or its plugin is not installed and nothing else can be done, or it cannot export it.
    """
    poetry = program("poetry")
    command = "poetry export --without-hashes -o requirements.txt"
    if not poetry:
        if _declares(root):
            return None
        raise ConfigError("poetry.lock needs the program poetry on the agent's machine", where="poetry.lock",
                          hint=f"pip install poetry poetry-plugin-export there, or: {command}")  # fmt: skip
    return _export(root, "poetry.lock", command, [poetry, "export", "--without-hashes", "--no-interaction"])


def _declares(root: Path) -> bool:
    try:
        project = loads_toml(read_text(root, "pyproject.toml") or "", "pyproject.toml").get("project", {})
    except ConfigError:
        return False
    return isinstance(project, dict) and "dependencies" in project


def _export(root: Path, lock: str, by_hand: str, command: list[str]) -> list[str]:
    project = read_text(root, "pyproject.toml")
    if project is None:
        raise ConfigError(f"{lock} is there, but no pyproject.toml", where=lock, hint="Put it beside the lock file.")
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="windlass-lock-") as folder:
        Path(folder, "pyproject.toml").write_text(project, encoding="utf-8")
        Path(folder, lock).write_text(read_text(root, lock, 64 << 20) or "", encoding="utf-8")
        try:
            done = subprocess.run(
                command, cwd=folder, env=env, capture_output=True, text=True, timeout=_TIMEOUT, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"{Path(command[0]).name} did not work: {error}", where=lock, hint=_MINE) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise ConfigError(f"{Path(command[0]).name} cannot export it: {said}", where=lock, hint=f"{_MINE} {by_hand}")
    return [line.strip() for line in done.stdout.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def from_environment(root: Path, name: str) -> list[str]:
    """The ``pip`` part of a conda environment file, if that and Python are all it asks for.

    Raises:
        ConfigError: It is not well-formed, or asks for conda packages, which nothing here can install.
    """
    data = loads(read_text(root, name) or "", name).data
    listed = data.get("dependencies") if isinstance(data, dict) else None
    pip: list[str] = []
    conda: list[str] = []
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict):
            pip += [str(line) for line in item.get("pip") or ()]
        elif not _PLAIN.match(str(item)):
            conda.append(str(item))
    if conda:
        raise ConfigError(
            f"conda packages cannot be installed here: {', '.join(conda)}", where=name,
            hint="Name them in a requirements.txt, or bring a Dockerfile that starts from a conda image.",
        )  # fmt: skip
    return pip
