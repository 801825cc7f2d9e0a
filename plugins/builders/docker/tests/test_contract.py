"""The docker builder fulfils the contract of builders, in all three ways of building."""

from __future__ import annotations

import pytest

from windlass_testkit.builders import BuilderContract
from windlass_testkit.services import PYTHON_IMAGE


class _Docker(BuilderContract):
    name = "docker"

    @pytest.fixture
    def base_image(self):
        return PYTHON_IMAGE

    @pytest.fixture
    def remove_image(self):
        import docker

        def remove(image):
            client = docker.from_env()
            try:
                client.images.remove(image.uri, force=True)
            except docker.errors.ImageNotFound:
                pass
            finally:
                client.close()

        return remove


@pytest.mark.service("python-image")
class TestWithTheProgram(_Docker):
    @pytest.fixture
    def config(self):
        from windlass_builder_docker.cli import find_client

        if not find_client():
            pytest.skip("no docker program that can use BuildKit")
        return {"buildkit": "cli"}


@pytest.mark.service("python-image")
class TestWithTheEngine(_Docker):
    @pytest.fixture
    def config(self):
        return {"buildkit": "engine"}


@pytest.mark.service("python-image")
class TestClassic(_Docker):
    @pytest.fixture
    def config(self):
        return {"buildkit": "off"}
