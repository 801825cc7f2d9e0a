"""What a run needs of an agent's slots, and the units in which slots and needs are written.

=========  =====================================================================================================
slot       units
=========  =====================================================================================================
`cpu`      cores: ``4``, ``0.5``, or thousandths of a core: ``500m``
`memory`   bytes: ``34359738368``, or with ``k m g t`` in powers of 1024: ``512m``, ``32g``, ``32GiB``, ``32 GB``
`gpu`      devices: ``2``; as slots also their indices, ``[0, 3]``; as a need also ``device=0,1`` and ``all``
any other  a number
=========  =====================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from windlass.errors import ConfigError, Problem
from windlass.launch import templates
from windlass.models import JSON
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Queue

__all__ = [
    "PATIENCE",
    "SLOTS",
    "SLOTS_KEY",
    "amount_text",
    "check_needs",
    "fits",
    "lacking",
    "needs_of",
    "parse_quantity",
]

SLOTS_KEY = "slots"
"""Key of a queue's config that says what its runs need; it is not handed to the resource."""
PATIENCE = 600.0
"""Seconds for which smaller runs may overtake one that needs more than is free; then agents make room for it."""
_WORDS = {"cpu": ("cpus", "cpu"), "memory": ("memory", "mem", "m"), "gpu": ("gpus", "gpu")}
SLOTS = tuple(_WORDS)
"""What every run has some of."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_quantity(slot: str, value: JSON, where: str = "") -> float:
    """An amount of a slot: cores, bytes, devices, or a plain number.

    Raises:
        ConfigError: It is none; the hint says how it is written.
    """
    found = _number(slot, value)
    if found is None or found < 0:
        hints = {"cpu": "cores, e.g. 4, 0.5 or 500m", "memory": "bytes, e.g. 512m or 32GiB", "gpu": "devices, e.g. 2"}
        raise ConfigError(
            f"{value!r} is no amount of {slot}",
            where=where or f"$.{SLOTS_KEY}.{slot}",
            hint=hints.get(slot, "a number"),
        )
    return found


def _number(slot: str, value: JSON) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if not isinstance(value, str):
        return float(value) if value == value and abs(value) != float("inf") else None
    text = value.strip().strip('"')
    if slot == "memory":
        match = _SIZE.fullmatch(text)
        return float(match[1]) * 1024.0 ** _POWERS[match[2].lower()] if match else None
    if slot == "gpu" and text == "all":
        return 1.0
    if slot == "gpu" and text.startswith("device="):
        return float(len(text.removeprefix("device=").split(",")))
    thousandth = slot == "cpu" and text.endswith("m")
    match = re.fullmatch(r"\d+(?:\.\d+)?", text.removesuffix("m") if thousandth else text)
    return float(match[0]) / (1000.0 if thousandth else 1.0) if match else None


def needs_of(queue: Queue, spec: LaunchSpec) -> dict[str, float]:
    """What a run needs of an agent's slots.

    The queue's key ``slots: {cpu: 2, memory: 8g, gpu: 1, license: 1}`` says it; what is not named there is taken from
    the resource's own words (``cpus``, ``memory``, ``gpus``), submitter's before owner's. A run that says nothing
    about cores counts as one core, or an agent would start any number of them.

    Returns:
        Amounts by slot, without those that are 0. What is written wrongly counts as nothing: the agent that takes the
        run says what is wrong with it.
    """
    config = _config(queue)
    values, _ = templates.template_values(config, queue.templates, spec.template_values)
    asked = {key: value for key, value in config.items() if key != SLOTS_KEY} | dict(spec.resource_args)
    explicit = config.get(SLOTS_KEY)
    wanted: dict[str, JSON] = {}
    for slot, words in _WORDS.items():
        wanted[slot] = next((asked[word] for word in words if asked.get(word) is not None), None)
    wanted |= dict(explicit) if isinstance(explicit, Mapping) else {}
    found = {}
    for slot, value in wanted.items():
        amount = _number(slot, _filled(value, values))
        found[slot] = (1.0 if slot == "cpu" else 0.0) if amount is None else amount
    return {slot: amount for slot, amount in found.items() if amount > 0}


def lacking(capacity: Mapping[str, float], needs: Mapping[str, float]) -> dict[str, float]:
    """What of `needs` is more than `capacity`. Slots that the agent does not count are not looked at."""
    return {slot: need for slot, need in needs.items() if slot in capacity and need > capacity[slot] + 1e-9}


def fits(capacity: Mapping[str, float], queue: Queue, spec: LaunchSpec) -> bool:
    """True when a run lacks nothing of `capacity`, see `lacking`."""
    return not capacity or not lacking(capacity, needs_of(queue, spec))


def amount_text(slot: str, amount: float) -> str:
    """An amount with its unit, for people: ``2 cpu``, ``8 GiB memory``."""
    if slot != "memory":
        return f"{amount:.6g} {slot}"
    unit, power = ("GiB", 3) if amount >= 1024**3 else ("MiB", 2)
    return f"{amount / 1024**power:.4g} {unit} {slot}"


def check_needs(queue: Queue) -> list[Problem]:
    """What is wrong with a queue's ``slots``."""
    given = _config(queue).get(SLOTS_KEY)
    if given is None:
        return []
    if not isinstance(given, Mapping):
        return [Problem("expected amounts by name", where=f"$.{SLOTS_KEY}", hint="e.g. {cpu: 2, memory: 8g}")]
    problems = []
    for slot, value in given.items():
        try:
            if not (isinstance(value, str) and "{{" in value):
                parse_quantity(str(slot), value)
        except ConfigError as error:
            problems.append(Problem(error.message, where=error.where, hint=error.hint))
    return problems


def _config(queue: Queue) -> dict[str, JSON]:
    from windlass.launch.plan import queue_config  # plan.py takes SLOTS_KEY from here

    return queue_config(queue)


def _filled(value: JSON, values: Mapping[str, JSON]) -> JSON:
    try:
        return templates.fill(value, values)
    except ConfigError:
        return None
