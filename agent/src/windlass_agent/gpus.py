"""How busy the GPUs of this host are."""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

__all__ = ["GpuMeter"]

_log = logging.getLogger(__name__)


class GpuMeter:
    """Adds up the busy seconds of each GPU, as ``nvidia-smi`` tells its use every two seconds.

    The program is started with the first run that has GPUs, and goes on beside the agent. Where there is none, nothing
    is known.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._tried = False
        self._busy: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def follow(self, gpus: Sequence[str] | None) -> Callable[[], float | None]:
        """Begin to count for GPUs, given by index; the answer gives their busy seconds so far, None when unknown."""
        if not gpus:
            return lambda: None
        self._start()
        begin = self._sum(gpus) or 0.0

        def so_far() -> float | None:
            total = self._sum(gpus)
            return None if total is None else total - begin

        return so_far

    def close(self) -> None:
        """End the program. May be repeated."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _sum(self, gpus: Sequence[str]) -> float | None:
        with self._lock:
            known = [self._busy[gpu] for gpu in gpus if gpu in self._busy]
        return sum(known) if known else None

    def _start(self) -> None:
        with self._lock:
            program = None if self._tried else shutil.which("nvidia-smi")
            self._tried = True
            if program is None:
                return
            command = [program, "--query-gpu=index,utilization.gpu", "--format=csv,noheader,nounits", "--loop=2"]
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
            except OSError as error:
                _log.warning("the use of GPUs is not known: %s: %s", program, error.strerror)
                return
            self._process = process
        threading.Thread(target=self._read, args=(process,), name="windlass-gpus", daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                index, _, percent = line.partition(",")
                try:
                    self._add(index.strip(), float(percent) / 100)
                except ValueError:
                    continue  # "[N/A]", as for devices that are shared out in parts

    def _add(self, gpu: str, share: float) -> None:
        now = time.monotonic()
        with self._lock:
            spent = now - self._told.get(gpu, now)
            self._told[gpu] = now
            self._busy[gpu] = self._busy.get(gpu, 0.0) + share * spent
