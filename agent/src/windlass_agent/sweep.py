"""Clearing up after agents that died between an attempt's end and its removal."""

from __future__ import annotations

import json
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.errors import NotFoundError, WindlassError

if TYPE_CHECKING:
    from windlass_agent.services import Services

__all__ = ["sweep"]

_log = logging.getLogger(__name__)
_OLD = 3600.0


def sweep(services: Services) -> int:
    """Remove what attempts left on this host that are over or superseded; returns how many.

    Each attempt has a directory here from before it is submitted until after it is cleaned up, so the directories
    name all that can be left. Attempts that are neither over nor superseded are not touched, whoever holds them.
    """
    count = 0
    for folder in sorted(services.work.glob("*/run.json")):
        try:
            if _is_over(services, folder):
                _remove(services, folder.parent)
                count += 1
        except FileNotFoundError:
            continue  # somebody was faster
        except (WindlassError, OSError, ValueError, KeyError) as error:
            _log.warning("%s cannot be cleared up yet: %s", folder.parent, error)
    with suppress(OSError):
        _sweep_unnamed(services)
    return count


def _sweep_unnamed(services: Services) -> None:
    """Remove directories without a note: an agent that had lost its claim wrote on while it was cleaned up."""
    # Directories are made a moment before their note. The age of those that no run is known for is told by the clock
    # that gave them their times, not by this process's, which may be an hour off.
    os.utime(services.work)
    now = services.work.stat().st_mtime
    for folder in services.work.glob("*"):
        with suppress(OSError, WindlassError):
            if (folder / "run.json").exists():
                continue
            over = _is_over_by_name(services, folder.name)
            if over or (over is None and now - folder.stat().st_mtime > _OLD):
                shutil.rmtree(folder, ignore_errors=True)


def _is_over_by_name(services: Services, name: str) -> bool | None:
    """Whether the attempt of a name is over or superseded, read in each way it can be; None: there is no such run."""
    base, _, number = name.rpartition("-")
    readings = [(name, 1), *([(base, int(number))] if base and number.isdecimal() else [])]
    known = None
    for run_id, attempt in readings:
        with suppress(NotFoundError):
            run = services.store.runs.get(run_id)
            known = (run.state.is_terminal or run.attempt > attempt) and known is not False
    return known


def _is_over(services: Services, note: Path) -> bool:
    facts = json.loads(note.read_bytes())
    try:
        run = services.store.runs.get(str(facts["run_id"]))
    except NotFoundError:
        return True
    return run.state.is_terminal or run.attempt > int(facts["attempt"])


def _remove(services: Services, folder: Path) -> None:
    facts = json.loads((folder / "run.json").read_bytes())
    runner = services.backends.runner(str(facts["resource"]))
    handle = runner.find(folder.name)
    if handle is not None:
        _log.info("removing what is left of %s", folder.name)
        runner.cleanup(handle)
    shutil.rmtree(folder, ignore_errors=True)
