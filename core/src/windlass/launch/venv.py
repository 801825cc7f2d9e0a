"""Python environments for runners without images: made once for a list of requirements, and kept in the cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen
from blake3 import blake3

from windlass.errors import BuildError, ConfigError
from windlass.launch.buildlog import TailLog, build_error
from windlass.launch.installed import unmet
from windlass.launch.lockfiles import program
from windlass.launch.requirements import (
    NEWEST_PYTHON,
    OLDEST_PYTHON,
    Requirements,
    find_requirements,
    python_wish,
)
from windlass.launch.safe import read_text
from windlass.launch.wheels import job_requirements, pack_wheels

if TYPE_CHECKING:
    from windlass.builders import BuildLog
    from windlass.models.launch import LaunchSpec

__all__ = ["JobEnvironment", "packages", "plan_environment"]

_DONE = ".windlass-complete"
"""Made last; lists what is installed."""
_FORMAT = "2"
"""Of environments; of the first, Windlass's own dependencies may have replaced what the job had pinned."""
_TIMEOUT = 3600.0


@frozen(kw_only=True)
class JobEnvironment:
    """The Python environment that a job needs.

    Attributes:
        root: Directory with the code.
        needs: Its dependencies.
        python: ``3.N``.
        asked_in: Place that asks for this Python; empty: the agent's own is as good as any.
        notes: What was chosen and why, a line each.
        wanted: False when the job runs with what is installed beside the agent.
    """

    root: Path
    needs: Requirements
    python: str
    asked_in: str = ""
    notes: tuple[str, ...] = ()
    wanted: bool = True

    def make(self, cache_dir: Path, log: BuildLog) -> Path:
        """Make the environment, or take the one that was made for the same requirements.

        Args:
            cache_dir: It lies below ``venvs``.
            log: Takes the installer's output.

        Returns:
            Directory of the environment.

        Raises:
            BuildError: A package cannot be installed; names it.
            ConfigError: There is no such Python here.
        """
        tail = TailLog(log)
        folder = cache_dir / "venvs" / self._key()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{folder}.lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / _DONE).exists():
                tail.line(f"the environment {folder.name} exists, nothing is installed")
                return folder
            shutil.rmtree(folder, ignore_errors=True)
            try:
                self._install(folder, cache_dir, tail)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder

    def _key(self) -> str:
        texts = [_FORMAT, self.python, sys.executable, *job_requirements()[0], *self.needs.lines]
        for name in self.needs.includes:
            texts += [name, read_text(self.root, name) or ""]
        if self.needs.needs_code:
            texts.append(str(self.root))  # the attempt's own directory: such an environment is not shared
        return blake3("\0".join(texts).encode()).hexdigest()[:32]

    def _install(self, folder: Path, cache_dir: Path, log: TailLog) -> None:
        ours, unreleased = job_requirements()
        find = []
        if unreleased:
            wheels = folder.with_suffix(".wheels")
            shutil.rmtree(wheels, ignore_errors=True)
            pack_wheels(wheels, cache_dir)
            find = ["--find-links", str(wheels)]
        list_file = self.root / f".windlass-requirements-{folder.name[:8]}.txt"
        list_file.write_text("".join(f"{line}\n" for line in self.needs.lines), encoding="utf-8")
        uv = program("uv")
        python = str(folder / "bin" / "python")
        try:
            if uv:
                quiet = ["--no-config", "--no-progress", "--color", "never"]
                listed = [uv, "pip", "list", "--format=freeze", *quiet, "--python", python]
                self._make_with_uv([uv, "venv", "--quiet", *quiet, "--python", self._interpreter(uv), str(folder)], log)
                install = [uv, "pip", "install", *quiet, "--python", python]
            else:
                _run([self._interpreter(""), "-m", "venv", str(folder)], self.root, log)
                listed = [python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
                install = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
            _run([*install, *find, "-r", str(list_file)], self.root, log)
            # Apart, as a list with hashes admits nothing without. What the job has got keeps its version.
            list_file.write_bytes(_run(listed, self.root, None))
            log.line("windlass is installed beside these packages, whose versions stay as they are")
            _run([*install, *find, "-c", str(list_file), *ours], self.root, log)
            (folder / _DONE).write_bytes(_run(listed, self.root, None))
        finally:
            list_file.unlink(missing_ok=True)
            if find:
                shutil.rmtree(find[1], ignore_errors=True)

    def _interpreter(self, uv: str) -> str:
        found = _python_here(self.python)
        if not found and not uv:
            raise self._no_python("")
        return found or self.python

    def _make_with_uv(self, command: list[str], log: TailLog) -> None:
        """Make it, with a Python that uv fetches where it is not there, and uv knows it and can."""
        try:
            _run(command, self.root, log)
        except BuildError as error:
            if error.retryable or _python_here(self.python):
                raise
            raise self._no_python("uv", error.hint) from None

    def _no_python(self, uv: str, said: str = "") -> ConfigError:
        tried, install = (", and uv cannot get it", "") if uv else ("", " or uv")
        advice = f"Install python{self.python}{install} there, or put the job on a docker queue."
        return ConfigError(
            f"there is no Python {self.python} on the agent's machine{tried}", where=self.asked_in or "python",
            hint=f"{_versions()} {advice}\n{said}".strip(),
        )  # fmt: skip


def packages(folder: Path) -> tuple[str, ...]:
    """What is installed in an environment, ``name==version`` each."""
    return tuple((folder / _DONE).read_text(encoding="utf-8").split())


def plan_environment(spec: LaunchSpec, root: Path, choice: str) -> JobEnvironment:
    """Find out whether a job needs an environment of its own.

    Args:
        spec: With the entry point.
        root: Directory with the code.
        choice: ``always``, ``never``, or ``auto``: when a script's header lists dependencies, the code asks for
            another Python than the agent's, or some of its dependencies are not installed beside the agent.

    Raises:
        ConfigError: See `find_requirements` and `python_wish`; with ``never`` these are notes.
    """
    from windlass.launch.plan import command_of

    command = command_of(spec)[0]
    own = f"3.{sys.version_info.minor}"
    doubt: tuple[str, ...] = ()
    try:
        needs = find_requirements(root, spec.requirements, command)
    except ConfigError as error:
        if choice != "never":
            raise
        needs, doubt = Requirements(), (f"WARNING: {error.where}: {error.message}; nothing is installed anyway",)
    missing = unmet(needs, root)
    try:
        python, asked_in = python_wish(root, spec.source.python, command)
    except ConfigError as error:
        if choice != "never" and not (choice == "auto" and not missing and _is_name(root, error.where)):
            raise ConfigError(error.message, where=error.where, hint=f"{error.hint} {_versions()}") from None
        python, asked_in = own, ""
        doubt = (*doubt, f"WARNING: {error.where}: {error.message}; it runs with Python {own}")
    listed = needs.origin != "job" or choice == "always"
    if choice == "never" or (choice == "auto" and not listed):
        # The list of an automatic job holds whatever was installed where it was made, mostly not needed.
        why = "builder.venv is 'never'" if choice == "never" else (
            "set builder.venv to 'always' on the queue to install them"
        )  # fmt: skip
        if python != own:
            doubt = (*doubt, f"WARNING: the code asks for Python {python}; it runs with {own}, as {why}")
        notes = (*_missing_notes(missing, needs, why), *doubt)
        return JobEnvironment(root=root, needs=needs, python=own, notes=notes, wanted=False)
    if python == own and (not needs.lines or (choice == "auto" and not missing and needs.origin != "script")):
        return JobEnvironment(root=root, needs=needs, python=own, notes=doubt, wanted=False)
    notes = (
        f"dependencies: {needs.origin or 'none'}, in an environment of their own; Python {python}", *needs.notes, *doubt
    )  # fmt: skip
    if missing and choice == "auto":
        notes = (*notes, f"not installed beside the agent: {', '.join(missing[:20])}")
    return JobEnvironment(root=root, needs=needs, python=python, asked_in=asked_in, notes=notes)


def _is_name(root: Path, where: str) -> bool:
    """Whether ``.python-version`` names somebody's environment, as pyenv has it, and no version at all."""
    text = read_text(root, where) if where == ".python-version" else None
    return text is not None and re.match(r"\W*(?:[a-z]+[-@]?)?\d", text) is None


def _python_here(version: str) -> str:
    """Path of a Python ``3.N`` that starts; empty if there is none. pyenv has programs that do not."""
    if version == f"3.{sys.version_info.minor}":
        return sys.executable
    found = shutil.which(f"python{version}") or ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if found and not subprocess.run([found, "-c", ""], capture_output=True, check=False, timeout=30).returncode:
            return found
    return ""


def _versions() -> str:
    here = [version for n in range(OLDEST_PYTHON, NEWEST_PYTHON + 1) if _python_here(version := f"3.{n}")]
    return f"On the agent's machine is Python {', '.join(here)}."


def _missing_notes(missing: tuple[str, ...], needs: Requirements, why: str) -> tuple[str, ...]:
    if not missing:
        return ()
    return (f"WARNING: {needs.origin} asks for {', '.join(missing[:20])}; not installed beside the agent, and {why}",)


def _run(command: list[str], cwd: Path, log: TailLog | None) -> bytes:
    """What a command says. With a `log` that goes there as it comes, what it says on stderr, too."""
    keep = re.compile(r"(?:PIP|UV)_(?:INDEX_URL|EXTRA_INDEX_URL|DEFAULT_INDEX|INDEX|CACHE_DIR|NO_INDEX|FIND_LINKS)"
                      r"|PATH|HOME|LANG|TMPDIR|SSL_CERT_(?:FILE|DIR)|[A-Za-z]*_proxy|[A-Z]*_PROXY")  # fmt: skip
    env = {name: value for name, value in os.environ.items() if keep.fullmatch(name)}
    errors = subprocess.DEVNULL if log is None else subprocess.STDOUT
    pieces = []
    try:
        with subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process:
            assert process.stdout is not None
            while piece := os.read(process.stdout.fileno(), 65536):
                pieces.append(piece)
                if log is not None:
                    log.write(piece)
            code = process.wait(_TIMEOUT)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be started: {error.strerror}", retryable=False) from None
    said = b"".join(pieces)
    if code:
        raise build_error(log.tail if log is not None else said.decode(errors="replace"))
    return said
