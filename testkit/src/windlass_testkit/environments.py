"""The contract of environments: they say who we are, and refuse clearly when they cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from windlass.environments import Environment
from windlass.errors import AccessError, UnsupportedError
from windlass.plugins.app import App
from windlass_testkit.base import Contract

__all__ = ["EnvironmentContract"]

_ACCESSORS = {"aws": "aws_session", "gcp": "google_credentials", "azure": "azure_credential"}


class EnvironmentContract(Contract):
    """Subclass it, set `name`, and give the fixtures `config` and `refused`."""

    kind = "environment"

    # -- what the subclass gives ------------------------------------------------------------------------------

    @pytest.fixture
    def refused(self) -> Mapping[str, Any]:
        """A configuration (and, by monkeypatch, surroundings) whose credentials are missing or refused."""
        raise NotImplementedError("give a fixture `refused`")

    @pytest.fixture
    def secret(self) -> str:
        """A secret that the configuration leads to, which must not show up; empty if there is none."""
        return ""

    # -- what the suite uses ----------------------------------------------------------------------------------

    @pytest.fixture
    def environment(self, app: App, config: Mapping[str, Any]) -> Iterator[Environment]:
        """The environment under test."""
        environment = app.create_environment(self.name, config)
        yield environment
        environment.close()

    # -- the contract -----------------------------------------------------------------------------------------

    def test_verify_gives_facts(self, environment: Environment) -> None:
        facts = environment.verify()
        assert facts
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in facts.items())

    def test_verify_may_be_repeated(self, environment: Environment) -> None:
        assert environment.verify() == environment.verify()

    def test_secrets_do_not_show(self, environment: Environment, secret: str) -> None:
        shown = repr(environment) + repr(environment.verify())
        assert not secret or secret not in shown

    def test_refused_credentials_are_an_access_error(self, app: App, refused: Mapping[str, Any]) -> None:
        environment = app.create_environment(self.name, refused)
        try:
            with pytest.raises(AccessError) as caught:
                environment.verify()
        finally:
            environment.close()
        assert caught.value.hint

    @pytest.mark.parametrize("cloud", sorted(_ACCESSORS))
    def test_accessors_are_what_is_declared(self, environment: Environment, descriptor: Any, cloud: str) -> None:
        accessor = getattr(environment, _ACCESSORS[cloud])
        if getattr(descriptor.capabilities, cloud):
            assert accessor() is not None
        else:
            with pytest.raises(UnsupportedError):
                accessor()

    def test_offers_something(self, descriptor: Any) -> None:
        assert any(getattr(descriptor.capabilities, cloud) for cloud in _ACCESSORS)

    def test_region_and_project_are_texts(self, environment: Environment) -> None:
        assert isinstance(environment.region, str)
        assert isinstance(environment.project, str)

    def test_close_may_be_repeated(self, app: App, config: Mapping[str, Any]) -> None:
        environment = app.create_environment(self.name, config)
        environment.close()
        environment.close()
