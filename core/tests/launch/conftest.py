"""A store in memory, an engine over it, and a directory with code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from attrs import frozen

from windlass.artifacts.engine import ArtifactEngine
from windlass.plugins.app import App
from windlass.plugins.types import RunnerPlugin
from windlass.runners import RunnerCapabilities
from windlass.settings import Settings
from windlass_testkit.fakes import PLUGIN_FILE
from windlass_testkit.git_servers import git_https

__all__ = ["git_https"]


@frozen(kw_only=True)
class NoConfig:
    """No keys."""


@pytest.fixture
def world(tmp_path):
    """`app`, `store` and `engine` with a home of their own."""
    settings = Settings.from_env(
        {"WINDLASS_HOME": str(tmp_path / "home"), "WINDLASS_ENTITY": "team", "WINDLASS_PROJECT": "demo"}
    )
    app = App(settings, plugins=(PLUGIN_FILE,))
    for name, needs_image in (("boxes", True), ("bare", False)):
        app.register(
            RunnerPlugin(
                name=name,
                summary="For tests; makes nothing.",
                config=NoConfig,
                create=lambda config, context: None,
                capabilities=RunnerCapabilities(needs_image=needs_image),
            )
        )
    store = app.open_store(f"memory://{tmp_path.name}")
    engine = ArtifactEngine(app, store, settings)
    yield SimpleNamespace(
        app=app,
        store=store,
        engine=engine,
        settings=settings,
        given={
            "app": app,
            "store": store,
            "engine": engine,
        },
    )
    store.close()
    app.close()


@pytest.fixture
def code(tmp_path):
    """A directory with a small job."""
    folder = tmp_path / "code"
    (folder / "pkg").mkdir(parents=True)
    (folder / "main.py").write_text("print('hello')\n")
    (folder / "run.sh").write_text("#!/bin/sh\necho hello\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "pkg" / "mod.py").write_text("X = 1\n")
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "noise.log").write_text("noise\n")
    return folder
