from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from windlass.plugins import App
from windlass.sdk import globals as active
from windlass.sdk import launch


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """A store in memory that every session of the test opens."""
    from windlass_testkit.fakes.memory import MemoryMetadataStore

    for name in list(os.environ):
        if name.startswith("WINDLASS_") and name != "WINDLASS_TEST_REQUIRE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINDLASS_ENTITY", "ann")
    memory = MemoryMetadataStore()
    monkeypatch.setattr(App, "open_store", lambda self, url="": memory)
    return memory


@pytest.fixture(autouse=True)
def _no_run_is_left() -> Iterator[None]:
    yield
    run = active.current_run()
    if run is not None:
        run.finish()
    launch.forget()
