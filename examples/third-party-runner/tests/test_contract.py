"""The spool runner keeps the contract of runners."""

import os
import signal
from pathlib import Path

import pytest

from windlass_testkit.runners import RunnerContract


class TestSpoolRunner(RunnerContract):
    name = "spool"

    @pytest.fixture
    def leftovers(self, settings):
        return lambda attempt_id: list((settings.home / "spool").glob(attempt_id))

    @pytest.fixture
    def destroy(self, settings):
        def kill_all(handle):
            os.killpg(int(Path(settings.home, "spool", handle.id, "pid").read_text()), signal.SIGKILL)

        return kill_all
