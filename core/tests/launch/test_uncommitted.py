"""What a checkout holds beside its commit comes out the same where the job is fetched."""

from __future__ import annotations

import os
import subprocess

import pytest

from windlass.launch import automatic
from windlass.launch.automatic import git_state
from windlass.launch.sources import fetch_source, patch_artifact
from windlass.models.job import JobSource, SourceKind

pytestmark = pytest.mark.service("git")


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """A clone, worked on by somebody whose git config shows differences in his own way."""
    home = tmp_path / "home-of-user"
    home.mkdir()
    (home / ".gitconfig").write_text(
        '[user]\n\tname = t\n\temail = t@t\n[init]\n\tdefaultBranch = main\n[protocol "file"]\n\tallow = always\n'
        "[diff]\n\tnoprefix = true\n\tmnemonicPrefix = true\n\tcontext = 0\n\tsubmodule = log\n\trelative = true\n"
        "\trenames = copies\n\texternal = false\n[color]\n\tui = always\n[core]\n\tpager = false\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    folder = tmp_path / "repo"
    folder.mkdir()
    files = {
        "train.py": b"a = 1\nb = 2\nc = 3\nd = 4\n", "keep/x.bin": bytes(range(256)), "gone.py": b"old\n" * 9,
        "moved.py": b"some content\n" * 20, "crlf.txt": b"one\r\ntwo\r\nthree\r\n", "eol.bat": b"one\ntwo\n",
        ".gitattributes": b"*.bat text eol=crlf\n", ".gitignore": b"ignored.py\n", "sub dir/\xc3\xa4 b.py": b"1\n",
        "run.sh": b"#!/bin/sh\n",
    }  # fmt: skip
    git(folder, "init", "-q")
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")
    git(tmp_path, "clone", "-q", "--bare", "repo", "remote.git")
    git(folder, "remote", "add", "origin", str(tmp_path / "remote.git"))
    return folder


def git(folder, *words):
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def again(world, tmp_path):
    def run(state):
        patch = ""
        if state.patch:
            patch = world.engine.log(patch_artifact(state.patch, "patch"), entity="team", project="demo").info.path
        source = JobSource(kind=SourceKind.GIT, remote=state.remote, commit=state.commit, patch=patch)
        return fetch_source(source, tmp_path / "out", engine=world.engine, cache_dir=tmp_path / "cache")

    return run


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def test_a_clean_checkout_has_no_changes(repo, again):
    state = git_state(str(repo))
    assert state.patch == b""
    assert contents(again(state))["train.py"] == (b"a = 1\nb = 2\nc = 3\nd = 4\n", False)


def test_every_kind_of_change_travels(repo, again):
    (repo / "train.py").write_bytes(b"a = 1\nb = 22\nc = 3\nd = 4\ne = 5")
    (repo / "keep/x.bin").write_bytes(bytes(reversed(range(256))))
    (repo / "gone.py").unlink()
    git(repo, "mv", "moved.py", "here.py")
    (repo / "crlf.txt").write_bytes(b"one\r\nTWO\r\nthree\r\n")
    (repo / "eol.bat").write_bytes(b"one\r\nTWO\r\n")
    (repo / "sub dir/\u00e4 b.py").write_bytes(b"2\n")
    (repo / "run.sh").chmod(0o755)
    (repo / "link").symlink_to("train.py")
    (repo / "staged.json").write_text("{}")
    git(repo, "add", "staged.json", "link")
    (repo / "new").mkdir()
    (repo / "new/module.py").write_text("N = 1\n")
    (repo / "empty.py").write_text("")
    (repo / "config.yaml").write_text("a: 1\n")
    (repo / "notes.txt").write_text("of no concern\n")
    (repo / "ignored.py").write_text("no\n")
    before = git(repo, "status", "--porcelain")
    state = git_state(str(repo), ("config.yaml",))
    assert git(repo, "status", "--porcelain") == before
    wanted = contents(repo)
    for name in ("notes.txt", "ignored.py"):
        del wanted[name]
    assert contents(again(state)) == wanted


def test_line_ends_that_only_the_checkout_has(repo, again):
    """Git for Windows writes CRLF on checkout, and takes it away again; where the job is fetched it is LF."""
    git(repo, "config", "core.autocrlf", "true")
    (repo / "train.py").write_bytes(b"a = 1\r\nb = 22\r\nc = 3\r\nd = 4\r\n")
    assert contents(again(git_state(str(repo))))["train.py"][0] == b"a = 1\nb = 22\nc = 3\nd = 4\n"


def test_a_submodule_that_was_worked_in(repo, again, tmp_path):
    git(tmp_path, "clone", "-q", "remote.git", "lib")
    git(repo, "submodule", "--quiet", "add", str(tmp_path / "lib"), "lib")
    git(repo, "commit", "-qm", "sub")
    git(repo, "push", "-q", "origin", "main")
    (repo / "lib" / "train.py").write_text("changed\n")
    state = git_state(str(repo))
    assert state.patch == b""


def test_too_many_changes_leave_no_job_rather_than_a_wrong_one(repo, monkeypatch, caplog):
    monkeypatch.setattr(automatic, "_PATCH_LIMIT", 100)
    (repo / "train.py").write_bytes(b"x = 1\n" * 100)
    assert git_state(str(repo)) is None
    assert "commit them" in caplog.text


def test_from_a_directory_below(repo, again):
    (repo / "keep/new.py").write_text("N = 1\n")
    (repo / "top.py").write_text("T = 1\n")
    (repo / "keep/c.toml").write_text("a = 1\n")
    out = contents(again(git_state(str(repo / "keep"), ("c.toml",))))
    assert {"keep/new.py", "top.py", "keep/c.toml"} <= set(out)


def test_files_outside_are_left_out(repo, again, tmp_path):
    (repo / "new.py").write_text("N = 1\n")
    (tmp_path / "outside.py").write_text("O = 1\n")
    assert "new.py" in contents(again(git_state(str(repo), ("../outside.py", str(tmp_path / "outside.py")))))


def test_changes_that_git_cannot_tell_leave_no_job(repo, caplog):
    (repo / "train.py").write_text("changed\n")
    blob = git(repo, "rev-parse", "HEAD:train.py")
    (repo / ".git/objects" / blob[:2] / blob[2:]).unlink()
    assert git_state(str(repo)) is None
    assert "cannot be had" in caplog.text
