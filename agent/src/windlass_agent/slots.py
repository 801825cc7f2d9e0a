"""The resources an agent gives to its runs: cores, memory, GPUs, and whatever else is counted."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.errors import ConfigError, Problem
from windlass.launch.needs import needs_of, parse_quantity

if TYPE_CHECKING:
    from windlass.models import JSON
    from windlass.models.queue import Queue
    from windlass.models.run import Run

__all__ = ["Slots", "parse_slots"]

_NOTE = "gpus.json"


def parse_slots(given: Mapping[str, JSON], where: str = "$.slots") -> dict[str, tuple[float, tuple[str, ...]]]:
    """Amounts by slot, and for GPUs the indices of the devices.

    Raises:
        ConfigError: All that does not fit.
    """
    found: dict[str, tuple[float, tuple[str, ...]]] = {}
    problems = []
    for slot, value in given.items():
        place = f"{where}.{slot}"
        try:
            found[slot] = _amount(slot, value, place)
        except ConfigError as error:
            problems.append(Problem(error.message, where=place, hint=error.hint))
    if problems:
        raise ConfigError("the slots do not fit", where=where, problems=problems)
    return found


def _amount(slot: str, value: JSON, where: str) -> tuple[float, tuple[str, ...]]:
    if slot == "gpu" and isinstance(value, (list, tuple)):
        indices = tuple(str(index) for index in value)
        if len(set(indices)) < len(indices):
            raise ConfigError("a device is named twice", where=where)
        return float(len(indices)), indices
    amount = parse_quantity(slot, value, where)
    if slot == "gpu" and (not amount.is_integer() or isinstance(value, str)):
        raise ConfigError(f"{value!r} is no number of GPUs", where=where, hint="Write 2, or [0, 3] for certain ones.")
    return amount, tuple(map(str, range(int(amount)))) if slot == "gpu" else ()


class Slots:
    """What is free of an agent's slots.

    GPUs are given out by index. The indices are noted in the attempt's directory before it is submitted, so an agent
    that adopts it on this host knows which devices are taken.

    Args:
        given: ``slots`` of the configuration; empty: nothing is counted.
    """

    def __init__(self, given: Mapping[str, JSON]) -> None:
        parsed = parse_slots(given)
        self._total = {slot: amount for slot, (amount, _) in parsed.items()}
        self._devices = parsed["gpu"][1] if "gpu" in parsed else ()
        self._taken: dict[str, dict[str, float]] = {}
        self._gpus: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._total)

    def total(self) -> dict[str, float]:
        """All there is, taken or not, by slot."""
        return dict(self._total)

    def free(self) -> dict[str, float]:
        """What is left, by slot. Never below 0."""
        with self._lock:
            left = dict(self._total)
            for needs in self._taken.values():
                for slot, amount in needs.items():
                    if slot in left:
                        left[slot] = max(0.0, left[slot] - amount)
        return left

    def take(self, run: Run, queue: Queue, folder: Path) -> None:
        """Count a claimed run; `folder` is its attempt's directory, which may hold a predecessor's note."""
        if not self or run.spec is None:
            return
        needs = needs_of(queue, run.spec)
        noted = _noted(folder)
        with self._lock:
            self._taken[run.id] = needs
            count = int(needs.get("gpu", 0.0)) if self._devices else 0
            self._gpus[run.id] = noted if noted is not None else self._choose(count)

    def gpus(self, run_id: str) -> tuple[str, ...] | None:
        """Indices of the GPUs a run may use; None when this agent does not count GPUs."""
        return self._gpus.get(run_id, ()) if self._devices else None

    def note(self, run_id: str, folder: Path) -> None:
        """Write down the GPUs of a run that is about to be submitted."""
        gpus = self.gpus(run_id)
        if gpus:
            draft = folder / f"{_NOTE}.new"
            draft.write_text(json.dumps(gpus))
            draft.rename(folder / _NOTE)

    def give_back(self, run_id: str) -> None:
        """A run is over or belongs to another agent."""
        with self._lock:
            self._taken.pop(run_id, None)
            self._gpus.pop(run_id, None)

    def _choose(self, count: int) -> tuple[str, ...]:
        """The devices with the fewest runs. All of them are free unless taken-over runs brought more than there is."""
        users = dict.fromkeys(self._devices, 0)
        for gpus in self._gpus.values():
            for device in gpus:
                if device in users:
                    users[device] += 1
        return tuple(sorted(self._devices, key=lambda device: users[device])[:count])


def _noted(folder: Path) -> tuple[str, ...] | None:
    try:
        return tuple(str(index) for index in json.loads((folder / _NOTE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
