"""We are our own third party: a runner from outside the workspace, installed from wheels, keeps the contract."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from windlass_testkit.services import search_path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "third-party-runner"
RUNNER = EXAMPLE / "src" / "acme_windlass_spool" / "runner.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.service("uv"),
]


def run(*command: str, cwd: Path = ROOT, **env: str) -> str:
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "VIRTUAL"))}
    outer["PATH"] = search_path()
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=400, env={**outer, **env}, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-6000:]}\n{result.stderr[-6000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with wheels of core, testkit, command line and the example, and nothing else of the house."""
    folder = tmp_path_factory.mktemp("third-party")
    wheels = folder / "wheels"
    for source in ("core", "testkit", "cli", "agent", "server"):
        run("uv", "build", "--quiet", "--wheel", "--out-dir", str(wheels), str(ROOT / source))
    copied = folder / "example"
    shutil.copytree(EXAMPLE, copied, ignore=shutil.ignore_patterns("dist", "build", "__pycache__"))
    run("uv", "build", "--quiet", "--wheel", "--out-dir", str(wheels), str(copied), cwd=folder)
    run("uv", "venv", "--quiet", "--python", sys.executable, str(folder / "env"))
    python = folder / "env" / "bin" / "python"
    run("uv", "pip", "install", "--quiet", "--python", str(python), "--find-links", str(wheels), "--prerelease=allow",
        "acme-windlass-spool", "windlass-testkit", "windlass-cli")  # fmt: skip
    return python


def test_it_is_listed(python: Path, tmp_path: Path) -> None:
    listed = run(str(python.parent / "windlass"), "plugins", "list", cwd=tmp_path, WINDLASS_HOME=str(tmp_path))
    assert "spool" in listed
    assert "acme-windlass-spool" in listed


def test_it_keeps_the_contract(python: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "tests" / "test_contract.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib --strict-markers\n")
    out = run(str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert " passed" in out
    assert "failed" not in out


def test_it_is_small() -> None:
    """60 lines of code, imports and module docstring not counted."""
    text = RUNNER.read_text(encoding="utf-8")
    head: set[int] = set()
    for node in ast.parse(text).body:
        doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if doc or isinstance(node, (ast.Import, ast.ImportFrom)):
            head |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.split("#")[0].strip()]
    assert len([number for number in lines if number not in head]) <= 60
