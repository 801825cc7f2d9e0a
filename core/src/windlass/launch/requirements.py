"""What a source needs: its dependencies and its Python version."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import frozen

from windlass.config.document import loads_toml
from windlass.errors import ConfigError
from windlass.launch.lockfiles import from_environment, from_poetry_lock, from_uv_lock
from windlass.launch.safe import inside, read_text
from windlass.launch.script import script_header

__all__ = ["NEWEST_PYTHON", "OLDEST_PYTHON", "Requirements", "check_python", "find_requirements",
           "import_folder", "logical_lines", "python_version", "python_wish", "without_ours"]  # fmt: skip

OLDEST_PYTHON = 11
NEWEST_PYTHON = 14
_VERSION = re.compile(r"(?:python-|cpython-|cpython@)?3\.(\d{1,2})(?:\.\d+)?(?:[a-z]+\d*)?")
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_INCLUDE = re.compile(r"\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)")
_LOCAL = re.compile(r"\s*(?:-e|--editable|\.|/|~|file:|[A-Za-z0-9_./-]+\.(?:whl|tar\.gz|zip)\s*$)")
_OURS = re.compile(r"(?:dagster[-_.])?windlass(?:[-_.][a-z0-9-_.]+)?")
_CLAUSE = re.compile(
    r"\s*(>=|<=|==|!=|~=|>|<|===)\s*v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.\d+)*"
    r"(?:[-_.]?(?:a|b|c|rc|alpha|beta|pre|dev|post)[-_.]?\d*)*(\.\*)?\s*"
)


@frozen(kw_only=True)
class Requirements:
    """Dependencies of a source.

    Attributes:
        origin: File they come from, ``script`` for a header, ``job`` for a frozen list, or empty when there are none.
        lines: Requirements as pip reads them; Windlass itself is taken out, the image gets it anyway.
        includes: Further files that the lines refer to (``-r``, ``-c``), relative to the build context.
        needs_code: Some lines refer to the code itself, so they are installed after it was copied.
        notes: What is worth saying in the build log.
    """

    origin: str = ""
    lines: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    needs_code: bool = False
    notes: tuple[str, ...] = ()


def find_requirements(root: Path, frozen_list: Iterable[str] = (), command: Iterable[str] = ()) -> Requirements:
    """Dependencies of a source. The first of these that is there decides:

    the script's own header (PEP 723), ``requirements.txt``, ``uv.lock``, ``poetry.lock``, ``project.dependencies`` of
    ``pyproject.toml``, ``environment.yml``, the job's frozen list.

    Args:
        root: The build context.
        frozen_list: Of the job.
        command: The entry point, which may name a script with a header.

    Raises:
        ConfigError: A file cannot be read, refers to files outside of the build context, or needs a tool that is not
            here.
    """
    header = script_header(root, command)
    if header is not None and header.dependencies is not None:
        lines = list(header.dependencies)
        return Requirements(
            origin="script", lines=without_ours(lines), needs_code=any(_LOCAL.match(line) for line in lines)
        )
    text = read_text(root, "requirements.txt")
    if text is not None:
        lines = logical_lines(text)
        includes = _includes(root, "requirements.txt", lines, set())
        return Requirements(
            origin="requirements.txt",
            lines=without_ours(lines),
            includes=includes,
            needs_code=any(_LOCAL.match(line) for line in lines),
        )
    notes: tuple[str, ...] = ()
    if (root / "uv.lock").is_file():
        return Requirements(origin="uv.lock", lines=without_ours(from_uv_lock(root)))
    if (root / "poetry.lock").is_file():
        locked = from_poetry_lock(root)
        if locked is not None:
            return Requirements(origin="poetry.lock", lines=without_ours(locked))
        notes = ("poetry.lock is not used, for poetry is not installed on the agent's machine",)
    project = _project(root)
    declared = project.get("dependencies")
    if declared is not None:
        if not isinstance(declared, list) or not all(isinstance(line, str) for line in declared):
            raise ConfigError(
                "expected a list of texts", where="pyproject.toml ($.project.dependencies)", hint='["numpy>=2"]'
            )
        return Requirements(origin="pyproject.toml", lines=without_ours(declared), notes=notes)
    for name in ("environment.yml", "environment.yaml"):
        if (root / name).is_file():
            return Requirements(origin=name, lines=without_ours(from_environment(root, name)))
    lines = list(frozen_list)
    if not lines and set(_poetry(root)) - {"python"}:
        raise ConfigError(
            "these dependencies can only be read by poetry", where="pyproject.toml ($.tool.poetry.dependencies)",
            hint="Run 'poetry lock', or list them below [project] or in a requirements.txt.",
        )  # fmt: skip
    return Requirements(origin="job" if lines else "", lines=without_ours(lines))


def logical_lines(text: str) -> list[str]:
    """Lines of a requirements file without comments, continued ones joined."""
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def without_ours(lines: Iterable[str]) -> tuple[str, ...]:
    """Requirements other than Windlass itself, which jobs get anyway."""
    return tuple(line for line in lines if not ((name := _NAME.match(line)) and _OURS.fullmatch(name.group(1).lower())))


def _includes(root: Path, where: str, lines: Iterable[str], seen: set[str]) -> tuple[str, ...]:
    found: list[str] = []
    folder = Path(where).parent
    for line in lines:
        match = _INCLUDE.match(line)
        if match is None or "://" in match.group(1):
            continue
        name = (folder / match.group(1)).as_posix()
        inside(root, name, where)
        text = read_text(root, name)
        if text is None:
            raise ConfigError(f"there is no file {name!r}", where=f"{where}: {line}", hint="Correct the path.")
        if name not in seen:
            seen.add(name)
            found += [name, *_includes(root, name, logical_lines(text), seen)]
    return tuple(found)


def _project(root: Path) -> dict[str, Any]:
    return _table(root, "project")


def _poetry(root: Path) -> dict[str, Any]:
    return _table(root, "tool", "poetry", "dependencies")


def _table(root: Path, *path: str) -> dict[str, Any]:
    """A table of ``pyproject.toml``; empty if there is none."""
    text = read_text(root, "pyproject.toml")
    if text is None:
        return {}
    found: Any = loads_toml(text, "pyproject.toml")
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def import_folder(root: Path) -> str:
    """Folder below `root` from which the project that lies there is imported; empty if there is no project.

    Launched code is not installed. Without this, ``src/`` would not be importable, or be what an editable install
    beside the agent leads to: other code than what was launched.
    """
    declared = ("project",), ("build-system",), ("tool", "poetry")
    if not (root / "setup.py").is_file() and not any(_table(root, *path) for path in declared):
        return ""
    return "src" if (root / "src").is_dir() else "."


def python_version(root: Path, wanted: str = "", command: Iterable[str] = ()) -> str:
    """The Python version ``3.N`` of a source, see `python_wish`."""
    return python_wish(root, wanted, command)[0]


def python_wish(root: Path, wanted: str = "", command: Iterable[str] = ()) -> tuple[str, str]:
    """The Python version ``3.N`` of a source, and the place that asks for it; empty where none does.

    From `wanted`, the ``requires-python`` of the header of the script that `command` starts, ``runtime.txt``,
    ``.python-version``, ``requires-python`` of the project (for specifiers: this program's version if it fits, else
    the newest that does), else this program's.

    Raises:
        ConfigError: The version cannot be read, or is one that Windlass does not run on.
    """
    command = tuple(command)
    version, where = wanted, "the job's python"
    header = None if version else script_header(root, command)
    if header is not None and header.requires_python:
        where = f"{next(word for word in command if word.endswith('.py'))} (requires-python)"
        return _best(header.requires_python, where), where
    for name in ("runtime.txt", ".python-version"):
        if not version and (text := read_text(root, name)) is not None:
            version, where = next((line.strip() for line in text.splitlines() if line.strip()), ""), name
    if version:
        return check_python(version, where), where
    requires = _project(root).get("requires-python", "")
    if not requires:
        return _supported(sys.version_info.minor, "python"), ""
    where = "pyproject.toml ($.project.requires-python)"
    return _best(str(requires), where), where


def check_python(version: str, where: str) -> str:
    """``3.N`` of a version as people write it: ``3.12``, ``3.12.1``, ``python-3.12``, ``>=3.11``, ``3``.

    Raises:
        ConfigError: It is none, or too old.
    """
    if version[0] in "<>=!~" or version == "3":
        return _best(version if version != "3" else "==3.*", where)
    match = _VERSION.fullmatch(version)
    if match is None and re.fullmatch(r"(?:python-)?2\.\d+(?:\.\d+)?", version):
        raise _too_old(version, where)
    if match is None:
        raise ConfigError(f"{version!r} is no Python version", where=where, hint="e.g. 3.12")
    return _supported(int(match.group(1)), where)


def _best(requires: str, where: str) -> str:
    own = sys.version_info.minor
    candidates = [own, *(m for m in range(NEWEST_PYTHON, OLDEST_PYTHON - 1, -1) if m != own)]
    for minor in candidates:
        if minor >= OLDEST_PYTHON and _fits(minor, requires, where):
            return f"3.{minor}"
    raise ConfigError(
        f"no Python from 3.{OLDEST_PYTHON} to 3.{NEWEST_PYTHON} fits {requires!r}", where=where,
        hint=f"Windlass runs on 3.{OLDEST_PYTHON} and later.",
    )  # fmt: skip


def _supported(minor: int, where: str) -> str:
    if minor < OLDEST_PYTHON:
        raise _too_old(f"3.{minor}", where)
    return f"3.{minor}"


def _too_old(version: str, where: str) -> ConfigError:
    return ConfigError(
        f"Python {version} is too old: windlass needs 3.{OLDEST_PYTHON} or later", where=where,
        hint="Ask for a later version, or bring a Dockerfile of your own.",
    )  # fmt: skip


def _fits(minor: int, specifier: str, where: str) -> bool:
    """Whether the latest patch release of ``3.<minor>`` fits."""
    have = (3, minor, 99)
    for clause in filter(str.strip, specifier.split(",")):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise ConfigError(f"{specifier!r} is no version specifier", where=where, hint="e.g. >=3.11,<3.14")
        operator, parts = match.group(1), [int(part) for part in match.group(2, 3, 4) if part is not None]
        want = tuple(parts)
        full = (*want, 0, 0)[:3]
        same = have[: min(len(want), 2)] == want[:2]
        fits = {
            ">=": have >= full,
            "<=": have[: len(want)] <= want,
            ">": have > full,
            "<": have < full,
            "==": same,
            "===": same,
            "!=": not (same and len(want) <= 2),
            "~=": have >= full and have[: max(len(want) - 1, 1)] == want[: max(len(want) - 1, 1)],
        }[operator]
        if not fits:
            return False
    return True
