"""What every fake has: a log of its calls, a clock that stands still, and faults on order."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, cast

from attrs import define, field, frozen

__all__ = ["Call", "Crash", "FakeClock", "Faults", "faulty"]

T = TypeVar("T", bound=type)


class Crash(BaseException):
    """The process died here. Not an `Exception`, so that no handler takes it for an error: ``kill -9`` has none."""


class FakeClock:
    """Seconds since the epoch that pass only when a test says so. Give it to `Context.clock` and to fakes."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> float:
        """Let time pass; returns the new time."""
        with self._lock:
            self._now += seconds
            return self._now


@frozen
class Call:
    """One call of a fake's method, as it was made."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(factory=dict)


@define
class _Order:
    do: Callable[[], None]
    after: bool
    left: int


class Faults:
    """The event log of a fake, and what shall go wrong in it.

    An order is for one method, before its work is done or after (the answer is then lost although the work is done,
    which is the harder case), and for a number of calls::

        runner = FakeRunner()
        runner.faults.crash("submit", after=True)      # killed between submit and its record
        runner.faults.fail("poll", RunnerError("…"), times=2)   # flaky: works the third time
        runner.faults.slow("stop", 0.2)

    Attributes:
        calls: All calls so far, in order.
    """

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self._orders: dict[str, list[_Order]] = {}
        self._lock = threading.Lock()

    def fail(self, method: str, error: BaseException, *, after: bool = False, times: int = 1) -> None:
        """The next `times` calls raise `error`; with `after`, when their work is done."""

        def do() -> None:
            raise error

        self._order(method, do, after, times)

    def crash(self, method: str, *, after: bool = False) -> None:
        """The next call ends in `Crash`, as if the process were killed there."""
        self.fail(method, Crash(f"killed {'after' if after else 'before'} {method}"), after=after)

    def slow(self, method: str, seconds: float, *, times: int = 1) -> None:
        """The next `times` calls take so much longer (real seconds)."""
        self._order(method, lambda: time.sleep(seconds), False, times)

    def hook(self, method: str, do: Callable[[], None], *, after: bool = False, times: int = 1) -> None:
        """Run `do` in the next `times` calls: another process acts between two steps of this one."""
        self._order(method, do, after, times)

    def count(self, method: str) -> int:
        """How often a method was called."""
        return sum(call.method == method for call in self.calls)

    def _order(self, method: str, do: Callable[[], None], after: bool, times: int) -> None:
        with self._lock:
            self._orders.setdefault(method, []).append(_Order(do, after, times))

    def _reach(self, method: str, after: bool) -> None:
        with self._lock:
            due = [order for order in self._orders.get(method, []) if order.after == after and order.left > 0]
            for order in due:
                order.left -= 1
        for order in due:
            order.do()

    def around(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], work: Callable[[], Any]) -> Any:
        """Log one call, and do its work with the faults that are ordered for it."""
        self.calls.append(Call(method, args, kwargs))
        self._reach(method, after=False)
        result = work()
        self._reach(method, after=True)
        return result


def faulty(cls: T) -> T:
    """Class decorator: the public methods that a class defines go through ``self.faults``."""
    for name, member in list(vars(cls).items()):
        if not name.startswith("_") and inspect.isfunction(member):
            setattr(cls, name, _through_faults(name, member))
    return cls


def _through_faults(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        faults = cast("Faults", self.faults)
        return faults.around(name, args, kwargs, lambda: method(self, *args, **kwargs))

    return call
