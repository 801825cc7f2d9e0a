"""Starting is cheap: what every command pays for loads no backend, no web framework and no database.

Short commands with a store of their own load nothing beside what they use: importing, and making the classes of models,
is most of the time that they take.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import members

MODULES = 250

FORBIDDEN = {
    "alembic", "boto3", "botocore", "docker", "fsspec", "google", "httpx", "httpx2", "kubernetes", "numpy", "obstore",
    "pandas", "psycopg", "requests", "sqlalchemy", "sqlite3", "starlette", "urllib3", "uvicorn", "importlib.metadata",
}  # fmt: skip

UNUSED = FORBIDDEN - {"sqlite3"} | {"asyncio", "cattrs", "difflib", "rich", "yaml", "windlass.config.converter"}
"""What no command with an embedded store needs that does what it was asked for."""

MODELS = {f"windlass.models.{name}" for name in ("access", "artifact_work", "job", "queue", "schedule")}

PUT = ["artifact", "put", "data", "--name", "a"]
DATA = {*UNUSED, *MODELS, "json", "socket", "windlass.launch", "windlass.models.run", "windlass.sdk.settings"}

LEFT_OUT: dict[str, tuple[list[list[str]], set[str]]] = {
    "artifact put again": ([PUT, PUT], DATA | {"attr", "concurrent.futures", "shutil", "subprocess", "tempfile"}),
    "artifact get": ([PUT, ["artifact", "get", "a", "--root", "got", "--link", "hard"]], DATA),
    "run list": ([["run", "list"]], UNUSED | MODELS | {"json", "socket", "windlass.artifacts", "windlass.launch"}),
}
"""Commands, one after the other, and what the last of them may not load."""

JOB = UNUSED | MODELS | {"shutil", "socket", "tempfile", "windlass.launch.inputs", "windlass.models.artifact"}
"""What a job may not load to join its run and end it."""

TOLD = 'import sys\nout = sys.argv.pop(1)\n{}\nopen(out, "w").write("\\n".join(sys.modules))'
COMMAND = """
from {module} import {function} as main
sys.argv[0] = "windlass"
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def modules_after(home: Path, code: str, *words: str, **env: str) -> set[str]:
    """What is loaded when the code has run in a process of its own."""
    out = home / "modules.txt"
    result = subprocess.run(
        [sys.executable, "-c", TOLD.format(code), str(out), *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "WINDLASS_HOME": str(home), "HOME": str(home), **env},
        cwd=home,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(out.read_text().splitlines())


def modules_of(home: Path, *words: str) -> set[str]:
    """What a command loads."""
    cli = next(member for member in members() if member.name == "windlass-cli")
    module, _, function = cli.project["scripts"]["windlass"].partition(":")
    return modules_after(home, COMMAND.format(module=module, function=function), *words)


@pytest.mark.parametrize(
    "command",
    [None, ["--help"], ["plugins", "list"], ["launch", "--help"], ["run", "--help"]],
    ids=lambda command: " ".join(["windlass", *command]) if command else "import windlass",
)
def test_start(tmp_path: Path, command: list[str] | None) -> None:
    found = modules_of(tmp_path, *command) if command else modules_after(tmp_path, "import windlass")
    heavy = sorted(FORBIDDEN & found)
    backends = sorted({name.partition(".")[0] for name in found if name.startswith("windlass_")} - {"windlass_cli"})
    assert not heavy
    assert not backends, "plugins are listed from metadata"
    assert len(found) <= MODULES


def test_import_windlass_loads_nothing(tmp_path: Path) -> None:
    found = modules_after(tmp_path, "import windlass")
    assert {name for name in found if name.startswith("windlass")} == {"windlass"}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_commands_load_what_they_use(tmp_path: Path, name: str) -> None:
    commands, left_out = LEFT_OUT[name]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    for command in commands:
        found = modules_of(tmp_path, *command)
    assert not sorted(left_out & found)


def test_a_job_loads_what_it_uses(tmp_path: Path) -> None:
    begun = 'import os, windlass\nopen("id", "w").write(windlass.init().id)\nos._exit(0)'
    (tmp_path / "modules.txt").touch()  # that process ends without a word, and its run goes on
    modules_after(tmp_path, begun)
    run_id = (tmp_path / "id").read_text()
    launched = {"WINDLASS_LAUNCH": "true", "WINDLASS_RUN_ID": run_id, "WINDLASS_ATTEMPT": "1"}
    found = modules_after(tmp_path, "import windlass\nwindlass.init().finish()", **launched)
    assert "windlass.sdk.run" in found
    assert not sorted(JOB & found)


def test_a_remote_call_makes_the_classes_of_its_part(tmp_path: Path) -> None:
    found = modules_after(tmp_path, 'from windlass.remote import calls\nassert calls()["runs.get"].result')
    assert "windlass.models.run" in found
    assert not sorted((MODELS | {"windlass.models.artifact"}) & found)
