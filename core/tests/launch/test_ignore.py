"""``.gitignore`` as git understands it, and ``.dockerignore``."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from windlass.errors import ConfigError
from windlass.launch.ignore import DockerIgnore, LeftOut, code_files
from windlass.launch.sources import code_artifact

FILES = [
    "main.py",
    "a.log",
    "keep.log",
    "build/out.o",
    "build/keep.txt",
    "src/build/x",
    "src/a.log",
    "src/deep/er/b.txt",
    "docs/index.md",
    "docs/api/x.md",
    "foo/bar/baz",
    "x/foo/bar/y",
    "data/1.csv",
    "data/2.csv",
    "data/raw/3.csv",
    "we ird",
    "tail ",
    "#hash",
    "!bang",
    "a[b].txt",
    "abc.txt",
    "cache/t/1",
    "Z",
    "sub/only.txt",
    "sub/not.txt",
]

RULES = [
    "*.log\n!keep.log",
    "build/",
    "/build",
    "**/build",
    "foo/bar",
    "/foo/**",
    "docs/**/*.md",
    "data/*\n!data/raw/",
    "data/\n!data/1.csv",
    "\\#hash\n\\!bang",
    "we\\ ird\ntail\\ ",
    "a[[]b].txt",
    "[a-c]bc.txt",
    "a?c.txt",
    "*",
    "*\n!*/\n!*.py",
    "# comment\n\n  \n*.csv   ",
    "**",
    "src/**/b.txt",
    "x/**/y",
    "/*\n!/src",
    "[!Z]*",
    "cache/*/1",
    "deep",
    "er/",
]


@pytest.mark.parametrize("rules", RULES)
def test_the_same_files_as_git(tmp_path, rules):
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / ".gitignore").write_text(rules + "\n")
    (tmp_path / "sub" / ".gitignore").write_text("only.txt\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, capture_output=True)
    listed = subprocess.run(
        ["git", "-c", "core.excludesFile=", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    expected = sorted(name for name in listed.split("\0") if name)
    assert sorted(file.path for file in code_files(tmp_path)) == expected


def test_windlassignore_wins_over_gitignore(tmp_path):
    for name in ("a.bin", "b.bin", "c.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("*.bin\n")
    (tmp_path / ".windlassignore").write_text("!a.bin\nc.py\n")
    assert [f.path for f in code_files(tmp_path)] == [".gitignore", ".windlassignore", "a.bin"]


def test_what_is_never_code(tmp_path):
    for name in (".git/config", "__pycache__/a.pyc", "x.pyc", ".windlass/state", "venv/CACHEDIR.TAG", "venv/lib.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "windlass.db").write_text("")
    (tmp_path / "main.py").write_text("")
    assert [f.path for f in code_files(tmp_path, skip=[tmp_path / "home"])] == ["main.py"]


def test_links(tmp_path, monkeypatch):
    code, other = tmp_path / "code", tmp_path / "other"
    code.mkdir()
    other.mkdir()
    (other / "secret").write_text("s")
    (code / "a.sh").write_text("#!/bin/sh\n")
    (code / "a.sh").chmod(0o755)
    (code / "inside").symlink_to("a.sh")
    (code / "outside").symlink_to(other / "secret")
    (code / "folder").symlink_to(other)
    (code / "loop").symlink_to("loop")
    (code / "gone").symlink_to("nowhere")
    (code / "sub").mkdir()
    (code / "up").symlink_to("sub")
    os.mkfifo(code / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(code)  # paths of sockets are short
        server.bind("socket")
    left_out = LeftOut()
    found = {file.path: file.executable for file in code_files(code, left_out=left_out)}
    assert found == {"a.sh": True, "inside": True}
    assert left_out.items == [
        f"folder (a link that leads out of the directory, to {other})",
        "gone (a link that leads nowhere)",
        "loop (a link that leads nowhere)",
        f"outside (a link that leads out of the directory, to {other}/secret)",
        "pipe (a FIFO)",
        "socket (a socket)",
        "up (a link to a folder)",
    ]


def test_what_is_not_in_a_code_package_is_said(tmp_path, caplog):
    (tmp_path / "main.py").write_text("")
    code_artifact(tmp_path, "code")
    assert not caplog.records
    os.mkfifo(tmp_path / "pipe")
    for index in range(6):
        (tmp_path / f"link{index}").symlink_to("/")
    code_artifact(tmp_path, "code")
    assert "link0 (a link that leads out of the directory, to /)" in caplog.text
    assert "and 2 more" in caplog.text


def test_no_directory(tmp_path):
    with pytest.raises(ConfigError, match="not a directory"):
        code_files(tmp_path / "none")


@pytest.mark.parametrize(
    ("rules", "path", "ignored"),
    [
        ("*.md", "a.md", True),
        ("*.md", "docs/a.md", False),
        ("**/*.md", "docs/a.md", True),
        ("docs", "docs/a/b.md", True),
        ("/docs", "docs/a", True),
        ("*\n!main.py", "main.py", False),
        ("*\n!src", "src/deep/x", False),
        ("*\n!src\nsrc/x", "src/x", True),
        ("./a", "a", True),
        ("# a", "a", False),
        ("../a", "a", False),
    ],
)
def test_dockerignore(rules, path, ignored):
    assert DockerIgnore(rules.splitlines()).ignored(path) is ignored


@pytest.mark.parametrize("pattern", ["a*" * 40 + "b", "**/a" * 20 + "/b", "**a" * 30 + "b", "[a]*" * 30 + "b"])
def test_patterns_of_many_stars_keep_nobody_waiting(tmp_path, pattern):
    for path in ("a" * 200, "/".join("a" * 60)):
        assert not DockerIgnore([pattern]).ignored(path)
    (tmp_path / ".gitignore").write_text(pattern + "\n")
    (tmp_path / ("a" * 200)).touch()
    assert "a" * 200 in [file.path for file in code_files(tmp_path)]
