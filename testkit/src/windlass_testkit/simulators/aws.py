"""Amazon's services by moto's server (``pip install 'moto[server]'``). It checks no signatures."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass_testkit.servers import Running, free_port, shared, start, wait_for_port
from windlass_testkit.services import add_service, require

__all__ = ["aws_env", "moto_server", "s3_bucket"]

add_service("moto", lambda: "" if importlib.util.find_spec("moto") else "no package moto here")

_CLEARED = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SKIP_SIGNATURE", "AWS_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
            "AWS_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE")  # fmt: skip


def _start_moto() -> Running:
    folder, port = Path(tempfile.mkdtemp(prefix="windlass-moto-")), free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    pages = {"MOTO_S3_DEFAULT_MAX_KEYS": "50"}  # so that few objects make many pages
    pid = start(command, log=folder / "log", env={**os.environ, **pages})
    wait_for_port(port, pid=pid, log=folder / "log", timeout=180)
    return Running(pid=pid, folder=str(folder), facts={"url": f"http://127.0.0.1:{port}"})


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a moto server, shared by this test session."""
    require("moto")
    with shared(tmp_path_factory, "moto", _start_moto) as running:
        yield str(running.facts["url"])


@pytest.fixture
def aws_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moto_server: str) -> dict[str, str]:
    """An environment in which every AWS client talks to moto, and none finds the developer's own credentials."""
    for name in _CLEARED:
        monkeypatch.delenv(name, raising=False)
    env = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws-credentials"),
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return env


@pytest.fixture
def s3_bucket(aws_env: dict[str, str]) -> Any:
    """An empty bucket of its own, as a boto3 ``Bucket``. It goes with the server."""
    import boto3

    bucket = boto3.Session().resource("s3").Bucket(f"t-{uuid.uuid4().hex}")
    bucket.create()
    return bucket
