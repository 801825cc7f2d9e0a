"""Starting is cheap: what every command pays for loads no backend, no web framework and no database."""

from __future__ import annotations

import json
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

SCRIPT = """
import json, sys
def told():
    json.dump(sorted(sys.modules), open(sys.argv[1], "w"))
command = json.loads(sys.argv[2])
if command is None:
    import windlass
else:
    from {module} import {function} as main
    sys.argv[0:] = ["windlass", sys.argv[1], *command]
    path = sys.argv.pop(1)
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
    sys.argv.insert(1, path)
told()
"""


def modules_after(tmp_path: Path, command: list[str] | None) -> set[str]:
    cli = next(member for member in members() if member.name == "windlass-cli")
    module, _, function = cli.project["scripts"]["windlass"].partition(":")
    code = SCRIPT.format(module=module, function=function)
    out = tmp_path / "modules.json"
    result = subprocess.run(
        [sys.executable, "-c", code, str(out), json.dumps(command)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "WINDLASS_HOME": str(tmp_path), "HOME": str(tmp_path)},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(out.read_text()))


@pytest.mark.parametrize(
    "command",
    [None, ["--help"], ["plugins", "list"], ["launch", "--help"], ["run", "--help"]],
    ids=lambda command: " ".join(["windlass", *command]) if command else "import windlass",
)
def test_start(tmp_path: Path, command: list[str] | None) -> None:
    found = modules_after(tmp_path, command)
    heavy = sorted(FORBIDDEN & found)
    backends = sorted({name.partition(".")[0] for name in found if name.startswith("windlass_")} - {"windlass_cli"})
    assert not heavy
    assert not backends, "plugins are listed from metadata"
    assert len(found) <= MODULES


def test_import_windlass_loads_nothing(tmp_path: Path) -> None:
    found = modules_after(tmp_path, None)
    assert {name for name in found if name.startswith("windlass")} == {"windlass"}
