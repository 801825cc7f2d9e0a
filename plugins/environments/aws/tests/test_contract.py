from __future__ import annotations

import pytest

from windlass_testkit.environments import EnvironmentContract


@pytest.mark.service("moto")
class TestAws(EnvironmentContract):
    name = "aws"

    @pytest.fixture
    def config(self, aws_env):
        return {"region": "eu-central-1"}

    @pytest.fixture
    def refused(self, config, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        return config

    @pytest.fixture
    def secret(self):
        return "testing-secret"
