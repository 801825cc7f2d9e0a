"""The contract of metadata stores through a real server: TCP and unix socket."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from windlass.models.access import Principal
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit.metastores import MetadataStoreContract

pytest.importorskip("windlass_server")
pytest.importorskip("windlass_metastore_sql")

EVERYBODY = Principal(kind="local", name="everybody", admin=True)


def serve(settings: Settings, listener: socket.socket) -> Iterator[None]:
    from windlass_server.app import create_app
    from windlass_server.running import BackgroundServer

    app = App(settings)
    store = app.open_store(settings.store_url)
    server = BackgroundServer(create_app(store, anonymous=EVERYBODY), listener)
    server.start()
    yield
    server.stop()
    store.close()
    app.close()


class TestOverTcp(MetadataStoreContract):
    name = "http"

    @pytest.fixture
    def url(self, settings: Settings) -> Iterator[str]:
        listener = socket.create_server(("127.0.0.1", 0))
        for _ in serve(settings, listener):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class TestOverUnixSocket(MetadataStoreContract):
    name = "http"

    @pytest.fixture
    def url(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
        folder = tmp_path / ("long-" * 20)
        folder.mkdir()
        monkeypatch.chdir(folder)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("s")
        listener.listen()
        for _ in serve(settings, listener):
            yield f"unix://{folder}/s"
