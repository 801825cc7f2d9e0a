"""An image that is pulled from a registry that is slow, or says nothing."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchPolicy
from windlass.models.run import RunState
from windlass_testkit.servers import free_port, start, stop, wait_for_port
from windlass_testkit.services import program
from windlass_testkit.simulators.tap import Tap
from windlass_testkit.waiting import eventually

pytestmark = [pytest.mark.service("docker", "registry"), pytest.mark.timeout(120)]


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[Tap, str]]:
    """A registry behind a tap, and an image in it that the engine does not have."""
    import docker

    port = free_port()
    config, log = tmp_path / "registry.yml", tmp_path / "registry.log"
    config.write_text(
        f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    pid = start([program("docker-registry"), "serve", str(config)], log=log)
    client = docker.from_env()
    name = f"team/t{uuid.uuid4().hex[:8]}"
    try:
        wait_for_port(port, pid=pid, log=log)
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("nothing"), io.BytesIO())
        client.api.import_image_from_data(layer.getvalue(), repository=f"127.0.0.1:{port}/{name}", tag="1")
        client.api.push(f"127.0.0.1:{port}/{name}", tag="1")
        client.images.remove(f"127.0.0.1:{port}/{name}:1", force=True)
        with Tap(port) as tap:
            tap.limit, tap.stalls = 0, True
            yield tap, f"127.0.0.1:{tap.port}/{name}:1"
    finally:
        client.close()
        stop(pid)


def source(image: str) -> JobSource:
    return JobSource(kind=SourceKind.IMAGE, image=image)


def test_a_pull_that_takes_too_long(world: Any, slow: tuple[Tap, str]) -> None:
    """The limit on the start holds, an attempt later too; silence of the registry is not the engine's."""
    tap, image = slow
    policy = LaunchPolicy(start_timeout=3.0, retries={"infrastructure": 1}, retry_delay=0.1)
    world.queue("dq", "docker", policy=policy)
    world.agent(queues=("dq",), runners={"docker": {"timeout": 1}})
    run = world.wait(world.launch("true", queue="dq", source=source(image)))
    assert (run.state, run.attempt, run.reason.code) == (RunState.FAILED, 2, "start-timeout"), run.reason
    assert "3 s: its image was still being pulled" in run.reason.message
    assert "1 of 1 for infrastructure" in run.reason.hint
    assert tap.connections


def test_a_run_whose_image_is_pulled_can_be_stopped(world: Any, slow: tuple[Tap, str]) -> None:
    tap, image = slow
    world.queue("dq", "docker")
    world.agent(queues=("dq",))
    run_id = world.launch("true", queue="dq", source=source(image))
    eventually(lambda: tap.connections, 30)
    world.store.runs.request_stop(run_id)
    run = world.wait(run_id, seconds=15)
    assert (run.state, run.reason.code) == (RunState.KILLED, "stopped-by-user")
