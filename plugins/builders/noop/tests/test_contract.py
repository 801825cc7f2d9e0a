"""The noop builder fulfils the contract of builders."""

from __future__ import annotations

import pytest

from windlass_testkit.builders import BuilderContract


class TestNoopBuilder(BuilderContract):
    name = "noop"

    @pytest.fixture
    def base_image(self):
        return "scratch"

    @pytest.fixture
    def remove_image(self):
        return lambda image: None
