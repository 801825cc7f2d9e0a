from __future__ import annotations

import json

import pytest

from windlass.errors import AccessError, ConfigError
from windlass.plugins import App
from windlass.settings import Settings
from windlass_testkit.simulators.gcs import GcsSimulator

CONFIG = {"region": "europe-west4", "project": "proj"}


@pytest.fixture
def app(tmp_path):
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
    yield app
    app.close()


def test_a_key_file(app, google_key_file, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_key_file))
    environment = app.create("environment", "gcp", CONFIG)
    facts = {"principal": "agent@proj.iam.gserviceaccount.com", "project": "proj", "region": "europe-west4"}
    assert environment.verify() == facts
    assert (environment.region, environment.project) == ("europe-west4", "proj")


def test_workload_identity_federation(app, identity_server, tmp_path, monkeypatch):
    (tmp_path / "subject").write_text("subject-token")
    (tmp_path / "wif.json").write_text(
        json.dumps(
            {
                "type": "external_account",
                "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": f"{identity_server.url}/v1/token",
                "credential_source": {"file": str(tmp_path / "subject")},
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "wif.json"))
    environment = app.create("environment", "gcp", CONFIG)
    environment.verify()
    assert environment.google_credentials().token.startswith("token-")
    assert "POST /v1/token" in identity_server.requests


def test_the_metadata_server_of_a_pod(app, identity_server, monkeypatch):
    from google.auth.compute_engine import _metadata

    monkeypatch.setattr(_metadata, "_NO_GCE_CHECK", False, raising=False)
    for name, value in (("_GCE_METADATA_HOST", identity_server.host), ("_GCE_METADATA_IP", identity_server.host)):
        monkeypatch.setattr(_metadata, name, value, raising=False)
    monkeypatch.setenv("GCE_METADATA_HOST", identity_server.host)
    monkeypatch.setenv("GCE_METADATA_IP", identity_server.host)
    monkeypatch.setenv("GCE_METADATA_ROOT", identity_server.host)
    facts = app.create("environment", "gcp", CONFIG).verify()
    assert facts["principal"] == "pod@x.iam.gserviceaccount.com"
    assert facts["project"] == "proj"


def test_no_credentials_is_an_access_error_with_advice(app):
    with pytest.raises(AccessError, match="application-default"):
        app.create("environment", "gcp", CONFIG).verify()


@pytest.mark.parametrize("missing", ["region", "project"])
def test_region_and_project_are_required(app, missing):
    with pytest.raises(ConfigError, match=missing):
        app.create("environment", "gcp", {k: v for k, v in CONFIG.items() if k != missing})


def test_the_store_uses_the_environments_credentials_and_renews_them(app, google_key_file, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_key_file))
    environment = app.create("environment", "gcp", CONFIG)
    with GcsSimulator(token="token-1") as simulator:
        simulator.create("bucket")
        storage = app.create("storage", "gcs", {"endpoint-url": simulator.url}, environment=environment)
        assert storage.put("gs://bucket/a", b"one").size == 3
        simulator.token = "token-2"
        environment.google_credentials().expiry = None
        environment.google_credentials().token = None
        assert storage.stat("gs://bucket/a").size == 3
        simulator.token = "another"
        with pytest.raises(AccessError):
            storage.stat("gs://bucket/a")
        storage.close()
