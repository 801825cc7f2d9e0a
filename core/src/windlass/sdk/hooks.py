"""How the process ends: its exit code, the exception that ended it, SIGTERM."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import CodeType, FrameType, TracebackType
from typing import Any

__all__ = ["ExitWatch"]

_TOOLS = (4, 3)
"""Numbers that `sys.monitoring` leaves to whoever comes first."""


class ExitWatch:
    """Watches for the end of the process and calls `finish` once, in the process that made it.

    Attributes:
        code: Exit code as far as it is known; 0 until something else is seen.
        error: The exception that nobody caught.
        signal: Number of the signal that ends the process.
        patient: The program looks at `signal` itself: the first SIGTERM does not end it.
    """

    def __init__(self, finish: Callable[[], None]) -> None:
        self.code = 0
        self.error: BaseException | None = None
        self.signal = 0
        self.patient = False
        self._finish = finish
        self._pid = os.getpid()
        self._exit: Any = sys.exit
        self._excepthook: Any = sys.excepthook
        self._took_sigterm = False
        sys.exit = self._on_exit  # type: ignore[assignment]
        sys.excepthook = self._on_exception
        atexit.register(self._at_exit)
        self._finalizer = self._in_a_child()
        self._unwatch = self._watch_unwinding()
        if threading.current_thread() is threading.main_thread() and self._sigterm_is_free():
            # By default SIGTERM ends Python without clean-up; stopping a run must not lose its last metrics.
            signal.signal(signal.SIGTERM, self._on_sigterm)
            self._took_sigterm = True

    def forget_exit(self) -> None:
        """An exit that was caught is none: called whenever the program goes on working."""
        self.code = 0

    def remove(self) -> None:
        """Put everything back as it was."""
        atexit.unregister(self._at_exit)
        if self._finalizer is not None:
            self._finalizer.cancel()
        self._unwatch()
        if sys.exit == self._on_exit:
            sys.exit = self._exit
        if sys.excepthook == self._on_exception:
            sys.excepthook = self._excepthook
        in_main = threading.current_thread() is threading.main_thread()
        if self._took_sigterm and in_main and signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _sigterm_is_free(self) -> bool:
        handler = signal.getsignal(signal.SIGTERM)
        owner = getattr(handler, "__self__", None)
        return handler is signal.SIG_DFL or (isinstance(owner, ExitWatch) and owner._pid != self._pid)

    def _watch_unwinding(self) -> Callable[[], None]:
        """See ``raise SystemExit(3)``, which goes through no hook, leave the program; returns what ends that.

        Python can tell from 3.12 on. It costs a fifth of a microsecond for each function that an exception leaves.
        """
        if sys.version_info >= (3, 12) and threading.current_thread() is threading.main_thread():
            monitoring = sys.monitoring
            frame = sys._getframe()
            while frame.f_back is not None:
                frame = frame.f_back
            first, event = frame.f_code, monitoring.events.PY_UNWIND

            def unwound(code: CodeType, _offset: int, error: BaseException) -> None:
                if code is first and isinstance(error, SystemExit):
                    self.saw(error)

            for tool in _TOOLS:
                if monitoring.get_tool(tool) is None:
                    monitoring.use_tool_id(tool, "windlass")
                    monitoring.register_callback(tool, event, unwound)
                    monitoring.set_events(tool, event)
                    return partial(_end_monitoring, tool)
        return lambda: None

    def _in_a_child(self) -> Any:
        """Children of ``multiprocessing`` that are forked end without what `atexit` knows."""
        process = sys.modules.get("multiprocessing.process")
        if process is None or process.parent_process() is None:
            return None
        from multiprocessing.util import Finalize

        return Finalize(None, self._at_exit_of_child, exitpriority=0)

    def _on_exit(self, code: Any = None) -> None:
        if threading.current_thread() is threading.main_thread():  # in others it ends the thread only
            self.code = exit_code(code)
        self._exit(code)

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.saw(error)
        self._excepthook(kind, error, trace)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        first, self.signal = not self.signal, number
        if first and self.patient and os.getpid() == self._pid:
            return
        self.code = 128 + number
        if os.getpid() != self._pid:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise SystemExit(self.code)

    def _at_exit_of_child(self) -> None:
        error = sys.exc_info()[1]  # the one that ends the child is still on its way up
        if error is not None:
            self.saw(error)
        self._at_exit()

    def saw(self, error: BaseException) -> None:
        """An exception ends the program, or the block that was the run."""
        self.error = error
        if isinstance(error, SystemExit):
            self.code = exit_code(error.code)
        else:
            self.code = 130 if isinstance(error, KeyboardInterrupt) else 1

    def _at_exit(self) -> None:
        if os.getpid() == self._pid:
            self._finish()


def exit_code(code: Any) -> int:
    """The process's exit code for an argument of `sys.exit`."""
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


def _end_monitoring(tool: int) -> None:
    if sys.version_info >= (3, 12):
        sys.monitoring.set_events(tool, 0)  # until Python 3.14 it goes on when the number is given back
        sys.monitoring.free_tool_id(tool)
