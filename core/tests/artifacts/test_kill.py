"""kill -9 at seeded points of put, get and gc: no half version, no lost blob, and the next one goes on from there.

``WINDLASS_TEST_KILLS`` is the number of points over each object store (8).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.digest import digest_of
from windlass.artifacts.engine import ArtifactEngine
from windlass.errors import ArtifactNotFoundError
from windlass.models.artifact import ArtifactFilter
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit.simulators.aws import aws_env, moto_server, s3_bucket  # noqa: F401
from windlass_testkit.simulators.azure import azure_container, azure_env, azurite_server  # noqa: F401
from windlass_testkit.simulators.between import Between, Seen
from windlass_testkit.simulators.gcs import gcs_bucket, gcs_server  # noqa: F401

KILLED = (-signal.SIGKILL, -signal.SIGALRM)
ZYGOTE = Path(__file__).with_name("zygote.py")


class Victims:
    """Children that work on one home and are killed on the way."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ZYGOTE), *words],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, mode: str, folder: Path, event: int = 0, after: float = 0.0) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        job = {"mode": mode, "folder": str(folder), "event": event, "after": after}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        done: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert done["code"] in (0, *KILLED)
        return done

    def kill(self) -> None:
        """Kill the child that works now."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)

    def close(self) -> None:
        self._process.communicate()


class World:
    """A home, a tree that changes, and what must hold whatever was killed."""

    def __init__(self, tmp_path: Path, url: str, seed: int, *words: str) -> None:
        self.environment = {
            **os.environ,
            "WINDLASS_HOME": str(tmp_path / "home"),
            "WINDLASS_BASE_URL": url,
            "WINDLASS_ENTITY": "team",
            "WINDLASS_PROJECT": "demo",
        }
        self.tmp_path = tmp_path
        self.noise = random.Random(seed)
        self.tree = tmp_path / "tree"
        self.tree.mkdir()
        for index in range(60):
            (self.tree / f"{index:02}").write_bytes(self.noise.randbytes(20_000))
        (self.tree / "middle").write_bytes(self.noise.randbytes(300_000))
        (self.tree / "large").write_bytes(self.noise.randbytes(17 << 20))
        self.app = App(Settings.from_env(self.environment))
        self.store = self.app.open_store()
        self.engine = ArtifactEngine(self.app, self.store, self.app.settings)
        self.victims = Victims(self.environment, *words)

    def close(self) -> None:
        self.victims.close()
        self.engine.cache.close()
        self.store.close()
        self.app.close()

    def change(self) -> None:
        for index in self.noise.sample(range(60), 20):
            (self.tree / f"{index:02}").write_bytes(self.noise.randbytes(20_000))

    def forget_sessions(self) -> None:
        """What ten minutes without renewal do."""
        with sqlite3.connect(self.tmp_path / "home" / "windlass.db", timeout=30) as database:
            database.execute("DELETE FROM uploads")
        database.close()

    def versions(self) -> list[Artifact]:
        found = self.store.artifacts.list(ArtifactFilter(entity="team", project="demo", limit=1000))
        return [self.engine.wrap(version) for version in found]

    def check(self, *, thoroughly: bool) -> None:
        versions = self.versions()
        for version in versions if thoroughly else versions[:1]:
            version.check_manifest()
            assert list(self.engine.damages(version.manifest)) == []
        if versions:
            assert self.engine.get("data").id == versions[0].id  # latest is the newest
        for blob in self.engine.blobs.list() if thoroughly else ():
            with self.engine.blobs.open(blob.digest) as stream:
                assert digest_of(stream.read()) == blob.digest

    def check_download(self, folder: Path, latest: Artifact) -> None:
        """Each file is whole or absent; what a killed process leaves is hidden."""
        for path in folder.rglob("*"):
            if path.is_file() and not path.name.startswith(".windlass-"):
                entry = latest.manifest[str(path.relative_to(folder))]
                assert digest_of(path.read_bytes()) == entry.digest


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(url: str = "", seed: int = 11, *words: str) -> World:
        made.append(World(tmp_path, url, seed, *words))
        return made[-1]

    yield make
    for item in made:
        item.close()


def storm(world: World, points: int) -> None:
    victims = world.victims
    whole: dict[str, tuple[int, float]] = {}
    for mode in ("put", "get", "gc"):
        done = victims.run(mode, world.tree if mode == "put" else world.tmp_path / "warm")
        whole[mode] = (done["result"][0], done["result"][1])
    killed = 0
    for point in range(points):
        mode = ("put", "put", "get", "gc")[point % 4]
        events, seconds = whole[mode]
        folder = world.tree
        latest: Artifact | None = None
        if mode == "put":
            world.change()
        elif mode == "get":
            folder = world.tmp_path / f"out{point % 16}"
            latest = world.engine.get("data")
        else:
            world.forget_sessions()
            for old in world.versions()[1:]:
                old.delete(delete_aliases=True)
        if point % 2:
            done = victims.run(mode, folder, event=world.noise.randint(1, max(events, 1)))
        else:
            done = victims.run(mode, folder, after=max(world.noise.uniform(0, seconds), 0.0001))
        killed += done["code"] != 0
        if latest is not None:
            world.engine.cache.find(latest.manifest["large"].digest, lease=False)  # a damaged object would be removed
            if folder.is_dir():
                victims.run("get", folder)
                latest.verify(latest.checkout(folder))
        world.check(thoroughly=point % 20 == 19)
    assert killed > points / 4
    world.forget_sessions()
    assert victims.run("put", world.tree)["code"] == 0
    assert victims.run("gc", world.tree)["code"] == 0
    world.check(thoroughly=True)
    world.engine.get("data").verify(world.tree)


@pytest.mark.parametrize("points", [16, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_killed_anywhere(world: Callable[..., World], points: int) -> None:
    storm(world(seed=points), points)


def test_killed_anywhere_with_workers(world: Callable[..., World]) -> None:
    storm(world("", 5, "workers"), 32)


STORES = [
    pytest.param(("s3", "s3_bucket", "AWS_ENDPOINT_URL"), id="s3", marks=pytest.mark.service("moto")),
    pytest.param(("gs", "gcs_bucket", "STORAGE_EMULATOR_HOST"), id="gs"),
    pytest.param(
        ("az", "azure_container", "AZURE_STORAGE_BLOB_ENDPOINT"), id="az", marks=pytest.mark.service("azurite")
    ),
]


@pytest.fixture(params=STORES)
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """URL of a store whose blobs are in an object store, and the variable that names the latter's address."""
    scheme, fixture, variable = request.param
    bucket = request.getfixturevalue(fixture)
    blobs = f"{scheme}://{getattr(bucket, 'name', bucket)}/blobs"
    return f"sqlite:///{tmp_path}/home/windlass.db?blobs={blobs}", variable


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_anywhere_over_object_stores(world: Callable[..., World], remote: tuple[str, str]) -> None:
    points = int(os.environ.get("WINDLASS_TEST_KILLS", "8"))
    storm(world(remote[0], seed=points), points)


@pytest.mark.timeout(300)
def test_a_killed_put_sends_less_than_half_again(
    world: Callable[..., World], remote: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in the bytes that reach the object store."""
    url, variable = remote
    with Between(os.environ[variable]) as between:
        monkeypatch.setenv(variable, between.url)
        here = world(url)
        for index in range(20):
            (here.tree / f"big{index:02}").write_bytes(here.noise.randbytes(1 << 20))
        size = sum(path.stat().st_size for path in here.tree.iterdir())

        def sent() -> int:
            with between.lock:
                return sum(one.size for one in between.seen if one.method in ("PUT", "POST") and one.status < 300)

        enough = threading.Event()

        def hold(_: Seen) -> None:
            if sent() > 0.6 * size:
                enough.set()

        between.hold = hold
        victim = threading.Thread(target=lambda: done.append(here.victims.run("put", here.tree)))
        done: list[dict[str, Any]] = []
        victim.start()
        assert enough.wait(120)
        here.victims.kill()
        victim.join(60)
        assert done[0]["code"] in KILLED
        assert here.versions() == []
        before = sent()
        assert here.victims.run("put", here.tree)["code"] == 0
        assert sent() - before < size / 2
        here.engine.get("data").verify(here.tree)


def test_a_killed_put_goes_on_where_it_was(world: Callable[..., World], tmp_path: Path) -> None:
    """What was stored before the kill is not stored again."""
    here = world()

    def renew() -> None:
        for index in range(40):
            (here.tree / f"big{index:02}").write_bytes(here.noise.randbytes(1 << 20))

    renew()
    here.victims.run("put", here.tree)
    renew()
    whole = here.victims.run("put", here.tree)["result"]
    renew()
    before = sum(blob.size for blob in here.engine.blobs.list())
    assert here.victims.run("put", here.tree, event=int(whole[0] * 0.75))["code"] in KILLED
    stored = sum(blob.size for blob in here.engine.blobs.list()) - before
    assert stored > 20 << 20
    with pytest.raises(ArtifactNotFoundError):
        here.engine.get("data:v2")
    done = here.victims.run("put", here.tree)
    assert done["code"] == 0
    after = sum(blob.size for blob in here.engine.blobs.list()) - before
    assert after - stored < stored  # less than half of the bytes were still to be written
    here.engine.get("data:v2").verify(here.tree)
