"""Both ends of the range of Dagster versions, and the last of the one between, in clean environments.

The whole folder of tests runs with one version, that of ``constraints.txt``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from windlass_testkit.services import search_path

ROOT = Path(__file__).parents[3]
PROJECTS = Path(__file__).parent / "projects"
MEMBERS = (
    "core",
    "plugins/metastores/sql",
    "plugins/storage/file",
    "plugins/serializers/pickle",
    "integrations/dagster",
)

pytestmark = [pytest.mark.service("uv"), pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str | Path, **more: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "WINDLASS_", "VIRTUAL_ENV"))}
    clean["PATH"] = search_path()
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=280, check=False, env={**clean, **more}
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.parametrize("version", ["dagster==1.11.0", "dagster==1.12.*", "dagster"])
def test_beside(version: str, tmp_path: Path) -> None:
    """What was installed stays as it was, and works with what is added."""
    python = tmp_path / "env" / "bin" / "python"
    run("uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "env")

    def add(*what: str | Path) -> set[str]:
        run("uv", "pip", "install", "--quiet", "--python", python, "--prerelease=if-necessary-or-explicit", *what)
        return set(run("uv", "pip", "freeze", "--python", python).split("\n"))

    before = add(version)
    after = add(*(word for member in MEMBERS for word in ("-e", ROOT / member)))
    assert before <= after, before - after
    assert run(python, PROJECTS / "smoke.py", tmp_path).startswith("works with ")
