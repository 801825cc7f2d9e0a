"""The house as the tests see it: its distributions, their modules and what those import."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
STDLIB = frozenset(sys.stdlib_module_names)

FOLDERS = {
    "builders": "builder",
    "runners": "runner",
    "registries": "registry",
    "environments": "environment",
    "storage": "storage",
    "serializers": "serializer",
    "metastores": "metastore",
}
"""Folders below ``plugins/`` (also the ends of the entry-point groups), and the kind of plugin in each."""


@frozen
class Import:
    """One import statement's target.

    Attributes:
        module: Full name.
        late: It stands inside a function, or is for type checkers only.
    """

    module: str
    late: bool

    @property
    def top(self) -> str:
        """Top-level package."""
        return self.module.partition(".")[0]


@frozen(slots=False)
class Member:
    """A distribution of the workspace."""

    folder: Path

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        """Its ``pyproject.toml``."""
        return tomllib.loads((self.folder / "pyproject.toml").read_text(encoding="utf-8"))

    @property
    def project(self) -> dict[str, Any]:
        """The table ``project``."""
        return self.pyproject["project"]  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        """Name of the distribution."""
        return str(self.project["name"])

    @property
    def place(self) -> str:
        """Folder below the root."""
        return self.folder.relative_to(ROOT).as_posix()

    @property
    def is_plugin(self) -> bool:
        """True for what lies below ``plugins/``."""
        return self.place.startswith("plugins/")

    @property
    def kind(self) -> str:
        """Kind of plugin; empty for others."""
        return FOLDERS[self.folder.parent.name] if self.is_plugin else ""

    @property
    def package(self) -> str:
        """Import package; empty for a distribution without code."""
        if self.name == "windlass":
            return ""
        return "windlass" if self.name == "windlass-core" else self.name.replace("-", "_")

    @property
    def source(self) -> Path:
        """Folder of the import package."""
        return self.folder / "src" / self.package

    @property
    def dependencies(self) -> list[str]:
        """All requirements, optional ones included."""
        optional = self.project.get("optional-dependencies", {})
        return [*self.project.get("dependencies", ()), *(r for extra in optional.values() for r in extra)]

    def modules(self) -> Iterator[Path]:
        """All Python files of the import package."""
        return self.source.rglob("*.py") if self.package else iter(())


@cache
def members() -> tuple[Member, ...]:
    """All distributions that the workspace lists."""
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]["workspace"]
    folders = sorted(folder for glob in workspace["members"] for folder in ROOT.glob(glob))
    return tuple(Member(folder) for folder in folders if (folder / "pyproject.toml").is_file())


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """What a module imports, without relative imports."""
    found: list[Import] = []

    def visit(node: ast.AST, late: bool) -> None:
        for child in ast.iter_child_nodes(node):
            inside = late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            inside = inside or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
            if isinstance(child, ast.Import):
                found.extend(Import(alias.name, late) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
                names = [f"{child.module}.{alias.name}" for alias in child.names]
                found.extend(Import(name, late) for name in names)
            visit(child, inside)

    visit(ast.parse(path.read_text(encoding="utf-8")), False)
    return tuple(found)


def requirement_name(requirement: str) -> str:
    """The normalized name in a requirement."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def shown(path: Path) -> str:
    """A path for messages."""
    return path.relative_to(ROOT).as_posix()
