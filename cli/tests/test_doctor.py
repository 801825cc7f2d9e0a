"""``windlass doctor`` says what would fail, and what to do about it."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from windlass_cli.main import run as windlass


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("WINDLASS_BASE_URL", "WINDLASS_API_KEY", "WINDLASS_LAUNCH_QUEUES"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: str, code: int = 0) -> dict[str, tuple[str, str]]:
        assert windlass(["doctor", "--json", *words]) == code
        return {row["check"]: (row["status"], row["detail"]) for row in json.loads(capsys.readouterr().out)}

    return call


def test_a_fresh_home(doctor: Any) -> None:
    found = doctor()
    for check in ("windlass", "home", "metadata store", "blob store", "plugins", "runner process"):
        assert found[check][0] in ("ok", "warning"), found[check]
    assert found["blob store"] == ("ok", "written and read back")


def test_a_queue_that_is_not_there(doctor: Any) -> None:
    status, detail = doctor("-q", "nope", code=1)["queue nope"]
    assert status == "problem"
    assert "windlass queue create" in detail


def test_a_mistake_in_the_configuration(doctor: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("max_jbos: 3\n")
    status, detail = doctor("-c", str(path), code=1)["agent's configuration"]
    assert status == "problem"
    assert "c.yaml:1" in detail
    assert "max_jobs" in detail


def test_a_configuration_that_is_not_yaml(doctor: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("queues: [a\nmax_jobs: 3\n")
    assert "c.yaml:2: not well-formed" in doctor("-c", str(path), code=1)["agent's configuration"][1]


def test_a_store_that_cannot_be_opened(doctor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDLASS_BASE_URL", f"sqlite:///{tmp_path}")  # a directory
    found = doctor("-q", "q", code=1)
    assert found["metadata store"][0] == "problem"
    assert "blob store" not in found
    assert "queue q" not in found


def test_blobs_that_do_not_come_back(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from windlass.artifacts.blobstore import StorageBlobStore
    from windlass.errors import NoSpaceError

    def full(self: Any, *args: Any) -> None:
        raise NoSpaceError("no space left on device", hint="Free some.")

    monkeypatch.setattr(StorageBlobStore, "put", full)
    assert doctor(code=1)["blob store"] == ("problem", "no space left on device; Free some.")


@pytest.mark.parametrize(("free", "status"), [(1 << 31, "ok"), (1 << 29, "warning"), (1 << 19, "problem")])
def test_space_that_is_left(doctor: Any, monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    assert doctor(code=int(status == "problem"))["home"][0] == status


def test_a_run_here_and_now_does_not_wait_for_an_engine(
    doctor: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody sits in front of it, who is told at once."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("WINDLASS_PROJECT", "p")
    began = time.monotonic()
    assert windlass(["launch", "-d", "image:1", "--json"]) == 1
    assert time.monotonic() - began < 20
    reason = json.loads(capsys.readouterr().out)["reason"]
    assert "the Docker engine does not answer" in reason["message"]
