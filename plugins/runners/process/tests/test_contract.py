"""The process runner keeps the contract."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from windlass.runners import RunHandle
from windlass.settings import Settings
from windlass_testkit.runners import RunnerContract


def processes(attempt_id: str) -> list[str]:
    """Command lines of processes that belong to an attempt: its supervisor, and who has its folder open."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            argv = (entry / "cmdline").read_bytes()
            files = [os.readlink(fd) for fd in (entry / "fd").iterdir()]
        except OSError:
            continue
        if f"/{attempt_id}\0".encode() in argv or any(f"/runs/{attempt_id}/" in file for file in files):
            found.append(argv.replace(b"\0", b" ").decode())
    return found


class TestProcessRunner(RunnerContract):
    name = "process"

    @pytest.fixture
    def leftovers(self, settings: Settings) -> Callable[[str], Sequence[str]]:
        def probe(attempt_id: str) -> Sequence[str]:
            files = sorted(str(path) for path in (settings.home / "runs").glob(f"{attempt_id}*"))
            return [*files, *processes(attempt_id)]

        return probe

    @pytest.fixture
    def destroy(self, settings: Settings) -> Callable[[RunHandle], None]:
        def kill_supervisor(handle: RunHandle) -> None:
            pid = (settings.home / "runs" / handle.id / "record").read_text().split()[0]
            os.kill(int(pid), signal.SIGKILL)

        return kill_supervisor

    @pytest.fixture
    def visible(self, settings: Settings) -> Callable[[RunHandle], str]:
        def look(handle: RunHandle) -> str:
            texts = processes(handle.id)
            assert texts, "the supervisor must be seen"
            folder = settings.home / "runs" / handle.id
            return " ".join([*texts, *(p.read_text() for p in folder.iterdir() if p.is_file() and p.name != "stdout")])

        return look
