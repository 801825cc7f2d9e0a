"""Waiting for what happens elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["eventually"]

T = TypeVar("T")


def eventually(call: Callable[[], T], seconds: float = 60.0) -> T:
    """Call until the answer is true (or not empty), and return it. Fails when that takes too long."""
    end = time.monotonic() + seconds
    while not (found := call()):
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.02)
    return found
