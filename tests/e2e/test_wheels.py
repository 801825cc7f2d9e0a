"""Every distribution builds, and its wheel works alone with what it declares; `windlass` gives a command."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from windlass_testkit.services import search_path

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = sorted(
    path.parent
    for pattern in ("*/pyproject.toml", "plugins/*/*/pyproject.toml", "integrations/*/pyproject.toml")
    for path in ROOT.glob(pattern)
    if not path.parent.name.startswith(".")
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("wheels"),
    pytest.mark.service("uv"),
]


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "WINDLASS_", "VIRTUAL_ENV"))}
    clean["PATH"] = search_path()
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=600, check=False,
        env={**clean, **(env or {})},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    run("uv", "build", "--quiet", "--all-packages", "--wheel", "--out-dir", folder)
    return folder


def install(wheels: Path, target: Path, *names: str) -> Path:
    run("uv", "venv", "--quiet", "--python", sys.executable, target)
    python = target / "bin" / "python"
    run(
        "uv", "pip", "install", "--quiet", "--python", python, "--prerelease=allow", "--find-links", wheels,
        "--constraints", ROOT / "constraints.txt", *names, cwd=target,
    )  # fmt: skip
    return python


def test_every_member_has_a_wheel(wheels: Path) -> None:
    built = {path.name.split("-")[0] for path in wheels.glob("*.whl")}
    assert {project(folder)["name"].replace("-", "_") for folder in MEMBERS} <= built


def test_a_wheel_holds_its_code_its_type_mark_its_license_and_no_tests(wheels: Path) -> None:
    import zipfile

    for path in wheels.glob("*.whl"):
        names = zipfile.ZipFile(path).namelist()
        assert not [name for name in names if "/tests/" in name or name.startswith("tests/")], path.name
        assert any(name.endswith("/licenses/LICENSE") for name in names), path.name
        if not path.name.startswith("windlass-"):  # the meta distribution has no code
            assert any(name.endswith("/py.typed") for name in names), path.name


@pytest.mark.parametrize("folder", MEMBERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_wheel_works_alone(folder: Path, wheels: Path, tmp_path: Path) -> None:
    facts = project(folder)
    python = install(wheels, tmp_path / "env", facts["name"])
    package = next(iter((folder / "src").glob("*/py.typed")), None) if (folder / "src").is_dir() else None
    modules = [package.parent.name] if package else []
    groups = facts.get("entry-points", {})
    modules += [target.partition(":")[0] for group in groups.values() for target in group.values()]
    run(python, "-c", "; ".join(["pass", *(f"import {name}" for name in modules)]), cwd=tmp_path)


def test_the_meta_distribution_gives_a_working_command(wheels: Path, tmp_path: Path) -> None:
    python = install(wheels, tmp_path / "env", "windlass")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "main.py").write_text("import windlass\nwith windlass.init() as run:\n    run.log({'a': 1})\n")
    env = {"WINDLASS_HOME": str(tmp_path / "home"), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    windlass = python.parent / "windlass"
    assert "process" in run(windlass, "plugins", "list", cwd=tmp_path, env=env)
    run(windlass, "launch", "-u", "code", cwd=tmp_path, env=env)
    assert "finished" in run(windlass, "run", "list", cwd=tmp_path, env=env)
