"""Azure Blob Storage by Azurite, Microsoft's own emulator (``npm install -g azurite``). It keeps no blob versions."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from windlass_testkit.servers import Running, free_port, shared, start, wait_for_port
from windlass_testkit.services import add_service, program, require

__all__ = ["azure_container", "azure_env", "azurite_server"]

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's fixed key, printed in its manual."""

add_service("azurite", lambda: "" if program("azurite-blob") else "no program azurite-blob here")


def _start_azurite() -> Running:
    folder, port = Path(tempfile.mkdtemp(prefix="windlass-azurite-")), free_port()
    command = [
        program("azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder),
        "--silent", "--skipApiVersionCheck", "--disableTelemetry",
    ]  # fmt: skip
    pid = start(command, log=folder / "log")
    wait_for_port(port, pid=pid, log=folder / "log", timeout=180)
    return Running(pid=pid, folder=str(folder), facts={"url": f"http://127.0.0.1:{port}/{ACCOUNT}"})


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the account in an Azurite, shared by this test session."""
    require("azurite")
    with shared(tmp_path_factory, "azurite", _start_azurite) as running:
        yield str(running.facts["url"])


@pytest.fixture
def azure_env(monkeypatch: pytest.MonkeyPatch, azurite_server: str) -> str:
    """The account's address; the environment points to it with its key."""
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.delenv("AZURE_STORAGE_SAS_TOKEN", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    monkeypatch.setenv("AZURE_STORAGE_BLOB_ENDPOINT", azurite_server)
    return azurite_server


@pytest.fixture
def azure_container(azure_env: str) -> str:
    """Name of an empty container of its own. It goes with the server."""
    from azure.storage.blob import BlobServiceClient

    name = f"t-{uuid.uuid4().hex}"
    with BlobServiceClient(azure_env, credential={"account_name": ACCOUNT, "account_key": KEY}) as service:
        service.create_container(name)
    return name
