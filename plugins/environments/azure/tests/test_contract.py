from __future__ import annotations

import pytest

from windlass_testkit.environments import EnvironmentContract


class TestAzure(EnvironmentContract):
    name = "azure"

    @pytest.fixture
    def refused(self, identity_server):
        identity_server.refuse = True
        return {}

    @pytest.fixture
    def secret(self):
        from windlass_testkit.simulators.identity import _jwt

        return _jwt().split(".")[1][:20]
