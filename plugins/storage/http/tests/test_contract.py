from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

from windlass_testkit.storage import StorageContract

NO_LISTING = pytest.mark.xfail(reason="http has no listing", strict=True)


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

    @NO_LISTING
    def test_empty_object(self, storage, root, seed):
        super().test_empty_object(storage, root, seed)

    @NO_LISTING
    def test_list_is_exact_and_in_order(self, storage, root, seed):
        super().test_list_is_exact_and_in_order(storage, root, seed)

    @NO_LISTING
    def test_list_of_nothing(self, storage, root, seed):
        super().test_list_of_nothing(storage, root, seed)

    @NO_LISTING
    def test_listing_tells_what_stat_tells(self, storage, root, seed):
        super().test_listing_tells_what_stat_tells(storage, root, seed)

    @NO_LISTING
    def test_many_objects(self, storage, root, seed):
        super().test_many_objects(storage, root, seed)

    @pytest.mark.xfail(reason="http has no listing", strict=True)
    @pytest.mark.parametrize("name", ["with space.txt", "ünïcödé-日本.txt"])
    def test_hostile_names(self, storage, address, seed, name):
        super().test_hostile_names(storage, address, seed, name)
