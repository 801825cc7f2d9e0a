"""The Windlass server: the metadata and blob API over HTTP."""

from __future__ import annotations

from typing import Any

__all__ = ["LocalApi", "create_app", "first_key", "serve"]

_PLACES = {"LocalApi": "local", "create_app": "app", "first_key": "serving", "serve": "serving"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
