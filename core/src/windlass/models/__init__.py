"""The nouns of Windlass as frozen values. They cross every boundary: wire, database, plugin."""

from typing import Any

__all__ = ["JSON"]

JSON = Any
"""A JSON value: None, bool, int, float, str, list or dict with string keys."""
