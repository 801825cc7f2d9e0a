"""What must not stand in the tree: addresses of package indexes, paths of one machine, promises to do it later."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT, shown

PATTERNS = {
    "address of a package index": r"https?://\S+/simple\b|files\.pythonhosted|--(extra-)?index-url[= ]http",
    "path of somebody's machine": r"(?<![\w./<=-])/(root/\.\w|work/\w|home/[a-z]+/\w|Users/[A-Za-z]+/\w)",
    "promise to do it later": r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b",
}

TEXT = {
    ".py",
    ".md",
    ".toml",
    ".yaml",
    ".yml",
    ".sh",
    ".json",
    ".cfg",
    ".ini",
    ".txt",
    ".html",
    ".js",
    ".css",
    ".svg",
    ".tpl",
}


def files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if Path(name).suffix in TEXT or name == "Makefile"]


@pytest.mark.parametrize("what", PATTERNS)
def test_text(what: str) -> None:
    pattern = re.compile(PATTERNS[what])
    wrong = [
        f"{shown(path)}:{number}: {line.strip()[:100]}"
        for path in files()
        if path.is_file() and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not wrong, f"{what}:\n" + "\n".join(wrong)
