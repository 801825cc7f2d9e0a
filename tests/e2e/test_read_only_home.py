"""A home that can only be read is read, and says so when something is to be written."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def read_only(home: Path) -> Iterator[Call]:
    """Run the command where the home cannot be written: by its modes, or for root, who may write all, by a mount."""
    mount = f"mount --bind {shlex.quote(str(home))} {shlex.quote(str(home))}"
    again = f"mount -o remount,ro,bind {shlex.quote(str(home))}"
    modes = os.getuid() != 0

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "windlass_cli", *words]
        if modes:
            for folder, _, files in os.walk(home):
                for name in (".", *files):
                    os.chmod(f"{folder}/{name}", 0o500 if name == "." else 0o400)
        else:
            command = ["unshare", "-m", "sh", "-c", f"{mount} && {again} || exit 77; exec {shlex.join(command)}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 77 and not modes:
            pytest.skip(f"root cannot mount here: {done.stderr}")
        return done

    yield call
    for folder, _, _ in os.walk(home):
        os.chmod(folder, 0o700)


def test_artifacts_are_read_and_nothing_is_written(windlass, read_only: Call, home: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "small").write_text("small")
    (data / "large").write_bytes(random.Random(1).randbytes(300_000))
    assert windlass("artifact", "put", str(data), "-n", "demo/data").code == 0
    for words in (("ls", "demo"), ("show", "demo/data"), ("verify", "demo/data"), ("lineage", "demo/data")):
        done = read_only("artifact", *words)
        assert done.returncode == 0, done.stderr
        assert "data" in done.stdout
    done = read_only("artifact", "get", "demo/data", "--root", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("small", "large"):
        assert (tmp_path / "out" / name).read_bytes() == (data / name).read_bytes()
    for words in (("put", str(data), "-n", "demo/other"), ("rm", "demo/data:v0"), ("label", "demo/data", "-a", "x")):
        done = read_only("artifact", *words)
        assert done.returncode == 1, words
        assert "windlass.db: the home can only be read" in done.stderr
        assert "WINDLASS_HOME" in done.stderr


def test_while_others_write_and_after_they_were_killed(windlass, read_only: Call, home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert windlass("artifact", "put", str(tmp_path / "file"), "-n", "demo/data").code == 0
    database = home / "windlass.db"
    writer = sqlite3.connect(database)
    with writer:
        writer.execute("UPDATE versions SET description = 'in the journal only'")
    assert "in the journal only" in read_only("artifact", "show", "demo/data").stdout
    kept = tmp_path / "kept"
    home.chmod(0o700)
    shutil.copytree(home, kept)  # as a kill leaves it
    writer.close()
    shutil.rmtree(home)
    kept.rename(home)
    assert "in the journal only" in read_only("artifact", "show", "demo/data").stdout
    home.chmod(0o700)
    (home / "windlass.db-shm").unlink()
    done = read_only("artifact", "show", "demo/data")
    assert done.returncode == 1
    assert "its journal cannot be read" in done.stderr


def test_a_run_that_fell_silent_is_shown(windlass, read_only: Call, home: Path) -> None:
    code = "import os, windlass; windlass.init(id='quiet', project='demo'); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with sqlite3.connect(home / "windlass.db") as database:
        database.execute("UPDATE runs SET created_at = 1e9, started_at = 1e9, heartbeat_at = 1e9")
    database.close()
    for words in (("list", "-p", "demo"), ("show", "quiet")):
        done = read_only("run", *words)
        assert done.returncode == 0, done.stderr
        assert "running" in done.stdout
    home.chmod(0o700)
    for name in home.glob("windlass.db*"):
        name.chmod(0o600)
    assert "crashed" in windlass("run", "show", "quiet").out


def test_a_home_that_was_never_used_cannot_be_begun(read_only: Call, home: Path) -> None:
    home.mkdir()
    done = read_only("artifact", "ls")
    assert done.returncode == 1
    assert "cannot open the database" in done.stderr
