"""Git hosts that break off, stall or refuse, seen through a real git over https."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from windlass.config.secrets import Secret
from windlass.errors import StorageError
from windlass.launch import git as git_module
from windlass.launch.git import GitAccess, Mirror
from windlass.launch.uris import Location, classify
from windlass_testkit.git_servers import GIT_PASSWORD, GIT_USER
from windlass_testkit.simulators.tap import Tap

SIGNED_IN = GitAccess(username=GIT_USER, token=Secret(GIT_PASSWORD, "env/T"))


@pytest.fixture
def remote(git_https, tmp_path, monkeypatch):
    """A tap in front of the host, the repository's address through it, and its last commit of two."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(git_module, "_PAUSES", (0.0, 0.0))
    work, bare = tmp_path / "work", Path(git_https.folder, "job.git")
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    identity = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*arguments: str) -> str:
        env = {**os.environ, **plain, **identity}
        done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, env=env)
        return done.stdout.strip()

    git("init", "-q", "-b", "main", str(work))
    for name in ("one", "two"):
        (work / name).write_bytes(random.Random(name).randbytes(500_000))
        git("-C", str(work), "add", name)
        git("-C", str(work), "commit", "-q", "-m", name)
    git("clone", "-q", "--bare", str(work), str(bare))
    parts = urlsplit(git_https.facts["url"])
    with Tap(parts.port or 0) as tap:
        location = classify(f"https://127.0.0.1:{tap.port}{parts.path}/job.git")
        yield tap, location, git("-C", str(work), "rev-parse", "HEAD")


def mirror(location: Location, tmp_path: Path, cancelled=lambda: False) -> Mirror:
    return Mirror(location, tmp_path / "cache", SIGNED_IN, cancelled)


def test_a_fetch_that_broke_off_is_tried_again(remote, tmp_path) -> None:
    tap, location, commit = remote
    tap.limit, tap.cuts = 100_000, 1
    found = mirror(location, tmp_path)
    found.fetch(commit)
    assert tap.cuts == 0
    assert (found.path / "shallow").read_text().split() == [commit], "no history was fetched"


def test_a_network_that_is_gone_is_said_to_be(remote, tmp_path) -> None:
    tap, location, commit = remote
    tap.limit = 100_000
    with pytest.raises(StorageError) as caught:
        mirror(location, tmp_path).fetch(commit)
    assert caught.value.retryable
    assert "the network" in caught.value.hint
    assert tap.cuts == -4, "three tries, and none for the whole history"


def test_a_host_that_stalls_is_left_at_once(remote, tmp_path) -> None:
    tap, location, commit = remote
    tap.limit, tap.stalls = 100_000, True
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    began = time.monotonic()
    with pytest.raises(StorageError, match="was stopped"):
        mirror(location, tmp_path, stop.is_set).fetch(commit)
    assert time.monotonic() - began < 10
    with subprocess.Popen(["ps", "-ww", "-eo", "args"], stdout=subprocess.PIPE, text=True) as ps:
        assert ps.stdout is not None
        assert str(tap.port) not in ps.stdout.read(), "what git started has ended with it"
    tap.limit = None
    mirror(location, tmp_path).fetch(commit)


def test_waiting_for_anothers_fetch_can_be_stopped(remote, tmp_path) -> None:
    tap, location, commit = remote
    tap.limit, tap.stalls = 100_000, True
    stop = threading.Event()

    def fetch() -> None:
        with suppress(StorageError):
            mirror(location, tmp_path, stop.is_set).fetch(commit)

    first = threading.Thread(target=fetch)
    first.start()
    while not tap.connections:
        time.sleep(0.05)
    with pytest.raises(StorageError, match="was stopped"):
        mirror(location, tmp_path, lambda: True).fetch(commit)
    stop.set()
    first.join()
