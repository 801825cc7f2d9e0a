from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest


@attrs.frozen
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh WINDLASS_HOME and working directory; `python` is this interpreter."""
    for name in list(os.environ):
        if name.startswith("WINDLASS_") and name != "WINDLASS_TEST_REQUIRE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINDLASS_ENTITY", "ann")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path / "home"


@pytest.fixture
def windlass(home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Callable[..., Result]]:
    """Run the command in this process: the same code as a user's, without a second of imports each."""
    import logging

    from windlass_cli.main import run

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def call(*words: str) -> Result:
        capfdbinary.readouterr()
        code = run(list(words))
        sys.stdout.flush()
        sys.stderr.flush()
        captured = capfdbinary.readouterr()
        return Result(code, captured.out.decode(), captured.err.decode())

    yield call
    root.handlers[:] = handlers
    root.setLevel(level)
