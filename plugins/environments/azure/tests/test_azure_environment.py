from __future__ import annotations

import pytest

from windlass.plugins import App
from windlass.settings import Settings
from windlass_testkit.simulators.identity import TENANT


@pytest.fixture
def app(tmp_path):
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
    yield app
    app.close()


def test_no_further_keys_are_needed(app):
    environment = app.create("environment", "azure", {})
    assert environment.verify() == {"tenant": TENANT, "principal": "the-app"}
    assert (environment.region, environment.project) == ("", "")


def test_region_and_subscription(app, monkeypatch):
    environment = app.create("environment", "azure", {"region": "westeurope", "subscription": "sub"})
    assert environment.verify()["subscription"] == "sub"
    assert (environment.region, environment.project) == ("westeurope", "sub")
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "from-env")
    assert app.create("environment", "azure", {}).project == "from-env"


def test_the_store_uses_the_environments_credential(app):
    environment = app.create("environment", "azure", {})
    storage = app.create("storage", "azure", {"account": "acct"}, environment=environment)
    service = storage.wrapped._clients.service("")
    assert service.credential is environment.azure_credential()
    assert service.url == "https://acct.blob.core.windows.net/"
    storage.close()
