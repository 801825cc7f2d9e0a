"""The contract of metadata stores, over SQLite and over PostgreSQL."""

import pytest

from windlass.settings import Settings
from windlass_testkit.metastores import MetadataStoreContract


class TestSqlite(MetadataStoreContract):
    name = "sql"

    @pytest.fixture
    def url(self, settings: Settings) -> str:
        return settings.store_url


@pytest.mark.service("postgresql")
class TestPostgresql(MetadataStoreContract):
    name = "sql"

    @pytest.fixture
    def url(self, postgresql_url: str) -> str:
        return postgresql_url
