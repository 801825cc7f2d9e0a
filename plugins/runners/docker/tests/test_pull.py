"""Pulling from a registry that wants a sign-in."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.errors import SubmitError
from windlass.plugins.app import App
from windlass.runners import RunSpec
from windlass.settings import Settings
from windlass_testkit.servers import free_port, start, stop, wait_for_port
from windlass_testkit.services import program

pytestmark = pytest.mark.service("docker", "registry")
USER, PASSWORD = "builder", "windlass-test"
# bcrypt, the only kind the registry reads
HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuH8CcCvNJlqWjvxlH31f5eUNPd.sUfBi\n"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Host and port of a registry that lets in one user only."""
    port = free_port()
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {tmp_path}/htpasswd}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n"
    )
    log = tmp_path / "registry.log"
    pid = start([program("docker-registry"), "serve", str(config)], log=log)
    try:
        wait_for_port(port, pid=pid, log=log)
        yield f"127.0.0.1:{port}"
    finally:
        stop(pid)


@pytest.fixture
def image(registry: str) -> Iterator[str]:
    """An image that is in the registry, and no longer in the engine. It has no program in it."""
    import docker

    name, client = f"{registry}/team/t{uuid.uuid4().hex[:8]}", docker.from_env()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("nothing"), io.BytesIO())
    client.api.import_image_from_data(layer.getvalue(), repository=name, tag="1")
    answer = client.api.push(name, tag="1", auth_config={"username": USER, "password": PASSWORD})
    assert '"error"' not in answer
    client.images.remove(f"{name}:1", force=True)
    yield f"{name}:1"
    if client.images.list(name):
        client.images.remove(f"{name}:1", force=True)
    client.close()


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Any]:
    """Makes a runner with the settings of a registry."""
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
    made: list[Any] = []

    def make(**registry: Any) -> Any:
        made.append(app.create_runner("docker", {"registry": {"type": "oci", **registry}} if registry else {}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def spec(image: str) -> RunSpec:
    return RunSpec(run_id="r", attempt_id=f"r{uuid.uuid4().hex[:8]}", image=image, command=("nothing",))


def test_signed_in(runner: Any, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import docker

    monkeypatch.setenv("THE_PASSWORD", PASSWORD)
    signed_in = runner(uri=image.split("/")[0], username=USER, password="env/THE_PASSWORD")
    handle = signed_in.submit(spec(image))
    signed_in.cleanup(handle)
    client = docker.from_env()
    assert client.images.get(image)
    client.close()


@pytest.mark.parametrize("password", ["", "wrong"])
def test_not_signed_in(tmp_path: Path, runner: Any, image: str, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_PASSWORD", password or "x")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    one = runner(uri=image.split("/")[0], username=USER, password="env/THE_PASSWORD") if password else runner()
    with pytest.raises(SubmitError, match="cannot be pulled") as caught:
        one.submit(spec(image))
    assert not caught.value.retryable, "asking again does not help"
    assert "credentials" in caught.value.hint
    assert PASSWORD not in str(caught.value)
