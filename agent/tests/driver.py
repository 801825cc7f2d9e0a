"""Runs an agent in a process of its own: ``driver.py [drain] [kill=POINT] [pause=POINT] [jobs=N] [queue=NAME]…``.

``kill`` makes the agent kill itself when a run first comes to that point; ``pause`` makes it stop (SIGSTOP).
``host`` is the name of its machine.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from typing import Any

from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_agent.agent import Agent
from windlass_agent.config import AgentConfig
from windlass_agent.faults import Faults, Point


class Strike(Faults):
    """Strikes once, at a point."""

    def __init__(self, point: str, number: int, line: Any = None) -> None:
        self.point = Point(point)
        self.number = number
        self.line = line
        self.done = False

    def hit(self, point: Point, run_id: str) -> None:
        if point is self.point and not self.done:
            self.done = True
            if self.line is not None:
                assert self.line.acquire(30.0)
            os.kill(os.getpid(), self.number)
            time.sleep(0.2)  # the signal may come to another thread first
            if self.line is not None:
                self.line.release()


def main() -> None:
    """Run the agent."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    warnings.simplefilter("error")
    options = [word.partition("=") for word in sys.argv[1:]]
    values = {key: value for key, _, value in options}
    app = App(Settings.from_env())
    store = app.open_store()
    faults = None
    if "kill" in values:
        faults = Strike(values["kill"], signal.SIGKILL)
    elif "pause" in values:
        # A process that is stopped inside a transaction stops a SQLite file for everybody, whatever agents do; so
        # stand where none of our threads can be in one.
        faults = Strike(values["pause"], signal.SIGSTOP, store._db._turns._threads)  # type: ignore[attr-defined]
    config = AgentConfig(
        queues=tuple(value for key, _, value in options if key == "queue") or ("q",),
        max_jobs=int(values.get("jobs", "8")),
        drain="drain" in values,
        on_stop=values.get("on-stop", "finish"),
        host=values.get("host", ""),
    )
    Agent(config, app, store, faults=faults).run()
    store.close()
    app.close()


if __name__ == "__main__":
    main()
