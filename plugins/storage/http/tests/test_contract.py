from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

from windlass_testkit.storage import StorageContract


@pytest.mark.service("nginx")
class TestHttp(StorageContract):
    name = "http"

    @pytest.fixture
    def root(self, nginx):
        return f"{nginx.facts['url']}/root"

    @pytest.fixture
    def address(self, root):
        return lambda name: f"{root}/{quote(name)}"

    @pytest.fixture
    def seed(self, nginx):
        def write(uri, data):
            file = Path(nginx.folder) / unquote(urlsplit(uri).path).lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

        return write
