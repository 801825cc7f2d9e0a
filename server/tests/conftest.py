"""A store and a server over it."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.metastore import MetadataStore
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_server.app import create_app
from windlass_server.running import BackgroundServer

pytest.importorskip("windlass_metastore_sql")
pytest.importorskip("windlass_metastore_http")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")})


@pytest.fixture
def app(settings: Settings) -> Iterator[App]:
    app = App(settings)
    yield app
    app.close()


@pytest.fixture
def store(app: App) -> Iterator[MetadataStore]:
    store = app.open_store()
    yield store
    store.close()


@pytest.fixture
def serve(store: MetadataStore) -> Iterator[Callable[..., str]]:
    """Starts a server over the store and gives its URL."""
    servers = []

    def start(port: int = 0, **options: Any) -> str:
        listener = socket.create_server(("127.0.0.1", port))
        servers.append(BackgroundServer(create_app(store, **options), listener))
        servers[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., MetadataStore]]:
    """Opens a client with a key."""
    from windlass_metastore_http.config import HttpConfig
    from windlass_metastore_http.store import HttpStore

    clients = []

    def open_client(url: str, key: str = "", **options: Any) -> MetadataStore:
        clients.append(HttpStore(HttpConfig(url=url, **{"retry_seconds": 1.0, **options}), key))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()
