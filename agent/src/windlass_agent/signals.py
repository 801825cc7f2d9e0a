"""SIGTERM and Ctrl-C: the first one ends an agent in good order, the second one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["AtOnce", "signals"]


class AtOnce(BaseException):
    """Leave whatever is under way. Not an `Exception`, so that no handler takes it for an error."""


@contextmanager
def signals(stop: Callable[[], None], is_second: Callable[[], bool]) -> Iterator[None]:
    """Call `stop` for each signal, in the main thread; elsewhere signals are somebody else's.

    Raises:
        AtOnce: In the body, with the second one: it may be asking a store that is out of reach.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(_number: int, _frame: object) -> None:
        stop()
        if is_second():
            raise AtOnce

    old = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
