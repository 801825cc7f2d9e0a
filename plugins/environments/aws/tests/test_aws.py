from __future__ import annotations

import datetime as dt

import pytest

from windlass.errors import AccessError, ConfigError, UnsupportedError
from windlass.plugins import App
from windlass.settings import Settings

pytestmark = pytest.mark.service("moto")
ROLE = "arn:aws:iam::123456789012:role/training"


@pytest.fixture
def make(tmp_path, aws_env):
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
    yield lambda **config: app.create("environment", "aws", {"region": "eu-central-1", **config})
    app.close()


def test_who_we_are(make):
    environment = make()
    facts = environment.verify()
    assert facts["account"] == "123456789012"
    assert facts["region"] == environment.region == "eu-central-1"
    assert facts["partition"] == "aws"
    assert facts["principal"].startswith("arn:aws:")
    assert environment.aws_session().region_name == "eu-central-1"
    with pytest.raises(UnsupportedError):
        environment.google_credentials()


def test_region_is_required(make):
    app = App()
    with pytest.raises(ConfigError, match="region"):
        app.create("environment", "aws", {})


def test_a_role_is_assumed_and_its_credentials_renewed(make, monkeypatch):
    environment = make(**{"role-arn": ROLE, "session-name": "me"})
    assert environment.verify()["principal"] == "arn:aws:sts::123456789012:assumed-role/training/me"
    credentials = environment.aws_session().get_credentials()
    first = credentials.get_frozen_credentials()
    assert first.token
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=10)
    credentials._expiry_time = soon
    credentials._refresh_using.__self__._cache.clear()
    second = credentials.get_frozen_credentials()
    assert second.access_key != first.access_key


def test_no_credentials(make, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for config in ({}, {"role-arn": ROLE}):
        with pytest.raises(AccessError, match="aws/credentials"):
            make(**config).verify()


def test_unknown_profile(make):
    with pytest.raises(ConfigError, match="nobody"):
        make(profile="nobody").verify()


def test_a_refusal_names_the_operation(make, monkeypatch):
    from botocore.exceptions import ClientError

    environment = make(**{"role-arn": ROLE})
    session = environment.aws_session()

    def refuse():
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole")

    session.get_credentials()._refresh_using = refuse
    with pytest.raises(AccessError, match="AssumeRole was refused: AccessDenied") as caught:
        environment.verify()
    assert "trust policy" in caught.value.hint
