"""``windlass plugins`` and ``doctor`` for all kinds, those without settings included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from windlass_cli.main import run

GOOD = """
from windlass.artifacts.media import Media
from windlass.plugins import hookimpl

class Molecule(Media):
    media_name = "molecule-file"

@hookimpl
def windlass_run_finished(event): ...

def resolve(rest):
    return rest
"""
GROUPS = {
    "hooks": {"telling": "acme_good", "deaf": "acme_deaf"},
    "media": {"molecule-file": "acme_good:Molecule", "other-file": "acme_good:Molecule", "lost-file": "acme_lost:X"},
    "secrets": {"vault": "acme_good:resolve", "safe": "acme_deaf:NUMBER"},
}
BROKEN = {
    ("hook", "deaf"): "it listens to no event",
    ("media", "other-file"): "its media_name is 'molecule-file', but the entry point is called 'other-file'",
    ("media", "lost-file"): "No module named 'acme_lost'",
    ("secret", "safe"): "it is no function but int",
}


@pytest.fixture(autouse=True)
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    info = tmp_path / "site" / "acme_good-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-good\nVersion: 1.2\nSummary: Good things.\n")
    lines = [f"[windlass.{group}]\n" + "\n".join(f"{k} = {v}" for k, v in of.items()) for group, of in GROUPS.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (tmp_path / "site" / "acme_good.py").write_text(GOOD)
    (tmp_path / "site" / "acme_deaf.py").write_text("NUMBER = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    yield
    for name in ("acme_good", "acme_deaf"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("kind", "name"), [("hook", "telling"), ("media", "molecule-file"), ("secret", "vault")])
def test_what_has_no_settings_is_shown_and_checked(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plugins", "list", "--kind", kind, "--json"]) == 0
    assert name in {found["name"] for found in json.loads(capsys.readouterr().out)}
    assert run(["plugins", "show", kind, name]) == 0
    assert "acme-good 1.2  (acme_good" in capsys.readouterr().out
    assert run(["plugins", "show", kind, name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"] is None
    assert run(["plugins", "check", kind, name]) == 0
    assert capsys.readouterr().out == f"{kind} {name}: ok\n"
    assert run(["plugins", "check", kind, "nothing"]) == 2
    assert name in capsys.readouterr().err


def test_what_is_wrong_with_them_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for (kind, name), said in BROKEN.items():
        assert run(["plugins", "check", kind, name]) == 1
        error = capsys.readouterr().err
        assert said in error
        assert "acme-good" in error
    assert run(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert next(row["detail"] for row in found if row["check"] == "plugins").endswith("4 of them cannot be used")
    rows = {row["check"]: row["detail"] for row in found if row["status"] == "problem"}
    for (kind, name), said in BROKEN.items():
        assert said in rows.pop(f"{kind} {name}")
    assert not [check for check in rows if check.startswith(("hook", "media", "secret"))]


def test_nobody_needs_to_read_the_output(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "windlass_cli", "plugins", "list", "--json"]
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>"$0"', tmp_path / "err", *command], timeout=60, check=False)
    assert (closed.returncode, (tmp_path / "err").read_text()) == (0, "")
