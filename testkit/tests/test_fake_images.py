"""The fakes around images and accounts keep their contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from windlass.builders import BuildSpec, BuiltImage
from windlass.settings import Settings
from windlass_testkit.builders import BuilderContract, RecordedLog
from windlass_testkit.environments import EnvironmentContract
from windlass_testkit.fakes import PLUGIN_FILE
from windlass_testkit.fakes.images import BASE_IMAGE, FakeBuilder, FakeRegistry, Hub, hub_named
from windlass_testkit.registries import RegistryContract


class TestFakeBuilder(BuilderContract):
    name = "fake"
    plugin_files = (PLUGIN_FILE,)

    @pytest.fixture
    def base_image(self) -> str:
        return BASE_IMAGE

    @pytest.fixture
    def remove_image(self, settings: Settings) -> Callable[[BuiltImage], None]:
        return lambda image: hub_named(str(settings.home)).images.pop(image.uri, None) and None


class TestFakeRegistry(RegistryContract):
    name = "fake"
    plugin_files = (PLUGIN_FILE,)

    @pytest.fixture
    def existing(self, settings: Settings) -> tuple[str, str]:
        ref, digest = "registry.kit/team/image:1", f"sha256:{'a' * 64}"
        hub_named(str(settings.home)).images[ref] = digest
        return ref, digest


class TestFakeEnvironment(EnvironmentContract):
    name = "fake"
    plugin_files = (PLUGIN_FILE,)

    @pytest.fixture
    def refused(self) -> Mapping[str, Any]:
        return {"account": ""}


def test_what_was_pushed_is_not_built_again(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\n")
    hub = Hub()
    builder, registry = FakeBuilder(hub), FakeRegistry(hub)
    spec = BuildSpec(run_id="r", context=str(tmp_path), destination="registry.kit/team/job", registry=registry)
    log = RecordedLog()
    assert not builder.build(spec, log).reused
    assert log.phases == ["building", "pushing"]
    assert builder.build(spec, log).reused
    assert hub.repositories == {"registry.kit/team/job"}
    assert registry.faults.count("resolve") == 2
