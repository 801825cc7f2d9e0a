"""The docker runner keeps the contract."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from windlass.runners import RunHandle
from windlass.settings import Settings
from windlass_testkit.runners import RunnerContract
from windlass_testkit.services import PYTHON_IMAGE


@pytest.fixture
def engine() -> Iterator[Any]:
    import docker

    client = docker.from_env()
    yield client
    client.close()


@pytest.mark.service("docker", "python-image")
class TestDockerRunner(RunnerContract):
    name = "docker"
    image = PYTHON_IMAGE
    time_limit = 60.0

    @pytest.fixture
    def leftovers(self, engine: Any, settings: Settings) -> Callable[[str], Sequence[str]]:
        def probe(attempt_id: str) -> Sequence[str]:
            named = engine.api.containers(all=True, filters={"name": f"windlass-{attempt_id}"})
            files = [str(path) for path in Path(settings.home / "docker").glob(f"{attempt_id}.stop*")]
            return [name for item in named for name in item["Names"]] + files

        return probe

    @pytest.fixture
    def destroy(self, engine: Any) -> Callable[[RunHandle], None]:
        return lambda handle: engine.api.remove_container(f"windlass-{handle.id}", force=True)

    @pytest.fixture
    def visible(self, engine: Any) -> Callable[[RunHandle], str]:
        def look(handle: RunHandle) -> str:
            facts = engine.api.inspect_container(f"windlass-{handle.id}")
            listed = engine.api.containers(all=True, filters={"name": f"windlass-{handle.id}"})
            argv = [path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace") for path in _cmdlines()]
            del facts["Config"]["Env"]  # the engine's own way of handing over values, readable by its admins only
            return json.dumps([facts, listed, argv])

        return look


def _cmdlines() -> Iterator[Path]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            path.read_bytes()
        except OSError:
            continue
        yield path
