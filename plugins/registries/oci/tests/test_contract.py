"""The oci registry fulfils the contract of registries: without sign-in, with basic, with token sign-in."""

from __future__ import annotations

import os

import pytest

from windlass_testkit.registries import RegistryContract, basic, put_image


class TestAnonymous(RegistryContract):
    name = "oci"

    @pytest.fixture
    def config(self, registry_server, tmp_path):
        return {"uri": registry_server, "docker-config": str(tmp_path / "none.json")}

    @pytest.fixture
    def existing(self, registry_server):
        name = f"contract/{os.urandom(6).hex()}"
        return f"{registry_server}/{name}:1", put_image(registry_server, name, "1")


class TestIndex(TestAnonymous):
    @pytest.fixture
    def existing(self, registry_server):
        name = f"contract/{os.urandom(6).hex()}"
        return f"{registry_server}/{name}:1", put_image(registry_server, name, "1", index=True)


class TestBasic(RegistryContract):
    name = "oci"

    @pytest.fixture
    def config(self, basic_registry, monkeypatch):
        monkeypatch.setenv("OCI_TEST_PASSWORD", "pass:word")
        return {"uri": basic_registry, "username": "robot", "password": "env/OCI_TEST_PASSWORD"}

    @pytest.fixture
    def existing(self, basic_registry):
        name = f"contract/{os.urandom(6).hex()}"
        digest = put_image(basic_registry, name, "1", authorization=basic("robot", "pass:word"))
        return f"{basic_registry}/{name}:1", digest


class TestToken(RegistryContract):
    name = "oci"

    @pytest.fixture
    def config(self, token_registry, monkeypatch):
        monkeypatch.setenv("OCI_TEST_PASSWORD", "secret")
        return {"uri": token_registry.host, "username": "robot", "password": "env/OCI_TEST_PASSWORD"}

    @pytest.fixture
    def existing(self, token_registry):
        name = f"contract/{os.urandom(6).hex()}"
        token = token_registry.token(f"repository:{name}:pull,push")
        digest = put_image(token_registry.host, name, "1", authorization=f"Bearer {token}")
        return f"{token_registry.host}/{name}:1", digest
