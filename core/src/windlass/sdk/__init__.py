"""The Python SDK: track runs, log and use artifacts, read what was recorded.

Names are loaded when first used; importing this package loads nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Api": "windlass.sdk.api",
    "Run": "windlass.sdk.run",
    "Settings": "windlass.sdk.settings",
    "finish": "windlass.sdk.globals",
    "log": "windlass.sdk.globals",
    "log_artifact": "windlass.sdk.globals",
    "login": "windlass.sdk.globals",
    "require": "windlass.sdk.globals",
    "use_artifact": "windlass.sdk.globals",
}

__all__ = sorted([*_NAMES, "launch"])  # noqa: PLE0605 - derived, so it cannot drift


def __getattr__(name: str) -> Any:
    if name == "launch":
        return importlib.import_module("windlass.sdk.launch")
    try:
        module = _NAMES[name]
    except KeyError:
        raise AttributeError(f"module 'windlass.sdk' has no attribute {name!r}") from None
    return getattr(importlib.import_module(module), name)
