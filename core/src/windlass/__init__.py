"""Windlass: package machine-learning code as jobs, queue them, run them anywhere, version everything as artifacts.

The names below are loaded when they are first used; ``import windlass`` itself loads nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

_NAMES = {
    "Api": "windlass.sdk.api",
    "App": "windlass.plugins.app",
    "Artifact": "windlass.artifacts.artifact",
    "Run": "windlass.sdk.run",
    "Settings": "windlass.sdk.settings",
    "Audio": "windlass.artifacts.media",
    "Graph": "windlass.artifacts.media",
    "Html": "windlass.artifacts.media",
    "Image": "windlass.artifacts.media",
    "Object3D": "windlass.artifacts.media",
    "Plotly": "windlass.artifacts.media",
    "Table": "windlass.artifacts.table",
    "Video": "windlass.artifacts.media",
    "finish": "windlass.sdk.globals",
    "init": "windlass.sdk.init",
    "log": "windlass.sdk.globals",
    "log_artifact": "windlass.sdk.globals",
    "login": "windlass.sdk.globals",
    "require": "windlass.sdk.globals",
    "use_artifact": "windlass.sdk.globals",
}

__all__ = sorted([*_NAMES, "__version__", "run", "sdk", "summary"])  # noqa: PLE0605 - derived, so it cannot drift


def __getattr__(name: str) -> Any:
    if name in ("run", "summary"):  # the active run and its summary: never cached
        return importlib.import_module("windlass.sdk.globals").current(name)
    if name == "sdk":
        return importlib.import_module("windlass.sdk")
    try:
        module = _NAMES[name]
    except KeyError:
        raise AttributeError(f"module 'windlass' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact as Artifact
    from windlass.artifacts.media import Audio as Audio
    from windlass.artifacts.media import Graph as Graph
    from windlass.artifacts.media import Html as Html
    from windlass.artifacts.media import Image as Image
    from windlass.artifacts.media import Object3D as Object3D
    from windlass.artifacts.media import Plotly as Plotly
    from windlass.artifacts.media import Video as Video
    from windlass.artifacts.table import Table as Table
    from windlass.plugins.app import App as App
    from windlass.sdk.api import Api as Api
    from windlass.sdk.globals import finish as finish
    from windlass.sdk.globals import log as log
    from windlass.sdk.globals import log_artifact as log_artifact
    from windlass.sdk.globals import login as login
    from windlass.sdk.globals import require as require
    from windlass.sdk.globals import use_artifact as use_artifact
    from windlass.sdk.init import init as init
    from windlass.sdk.run import Run as Run
    from windlass.sdk.settings import Settings as Settings
