"""The command line, called in this process on a home of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from windlass_cli.main import run as windlass


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINDLASS_ENTITY", "team")
    monkeypatch.delenv("WINDLASS_BASE_URL", raising=False)
    monkeypatch.delenv("WINDLASS_API_KEY", raising=False)
    source = tmp_path / "src"
    source.mkdir()
    (source / "t.py").write_text("print(1)\n")
    monkeypatch.chdir(source)

    def command(*words: str, code: int = 0) -> Any:
        found = windlass(list(words))
        out, err = capsys.readouterr()
        assert found == code, err
        return json.loads(out) if "--json" in words and not code else out + err

    command("queue", "create", "q", "-r", "process")
    return command
