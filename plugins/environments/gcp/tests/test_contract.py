from __future__ import annotations

import pytest

from windlass_testkit.environments import EnvironmentContract


class TestGcp(EnvironmentContract):
    name = "gcp"

    @pytest.fixture
    def config(self, google_key_file, monkeypatch):
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_key_file))
        return {"region": "europe-west4", "project": "proj"}

    @pytest.fixture
    def refused(self, config, identity_server):
        identity_server.refuse = True
        return config

    @pytest.fixture
    def secret(self):
        return "token-1"
