"""The command line, called in this process on a home of its own."""

import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from windlass_cli import output
from windlass_cli.json_keys import undocumented
from windlass_cli.main import run as windlass


@pytest.fixture(autouse=True)
def printed_keys_are_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a command of these tests prints as JSON has the keys that the reference lists."""
    real = output.print_json

    def checked(value: Any) -> None:
        context = click.get_current_context(silent=True)
        if context is not None:
            path = context.command_path.removeprefix("windlass ")
            assert not undocumented(path, json.loads(output.json_text(value))), path
        real(value)

    monkeypatch.setattr(output, "print_json", checked)
    for name, module in list(sys.modules.items()):
        if name.startswith("windlass_cli.") and getattr(module, "print_json", None) is real:
            monkeypatch.setattr(module, "print_json", checked)


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
