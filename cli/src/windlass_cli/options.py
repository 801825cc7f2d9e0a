"""Options that several commands have."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from windlass.models import LONGEST, MOST

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
"""Seconds in each unit of time that users may write behind a number."""


def duration(value: str) -> float:
    """A number with a unit as seconds, for ``type=``: ``90m``, ``12h``, ``30d``."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhdw])", value)
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{value!r} is no duration; write a number and s, m, h, d or w, such as 30d.")
    seconds = float(found[1]) * UNITS[found[2]]
    if seconds > LONGEST:
        raise click.BadParameter(f"{value!r} is more than ten years; give at most {LONGEST / 86400:.0f}d.")
    return seconds


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON; see the reference for its keys.")
entity_option = click.option("-e", "--entity", default="", help="Owner. Default: WINDLASS_ENTITY, else the login name.")
project_option = click.option("-p", "--project", default="", help="Name space. Default: WINDLASS_PROJECT.")
limit_option = click.option(
    "--limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="At most so many."
)
