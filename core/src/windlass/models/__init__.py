"""The nouns of Windlass as frozen values. They cross every boundary: wire, database, plugin."""

from typing import Any

__all__ = ["JSON", "LONGEST", "MOST"]

JSON = Any
"""A JSON value: None, bool, int, float, str, list or dict with string keys."""

LONGEST = 10 * 365 * 86400.0
"""The most seconds that users may ask for: ten years. Times that lie further ahead have no date in the end."""

MOST = 2**31 - 1
"""The largest number that every store can count to."""
