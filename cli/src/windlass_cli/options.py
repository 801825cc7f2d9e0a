"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

MOST = 2**31 - 1
"""The largest number that every store can count to."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON; see the reference for its keys.")
entity_option = click.option("-e", "--entity", default="", help="Owner. Default: WINDLASS_ENTITY, else the login name.")
project_option = click.option("-p", "--project", default="", help="Name space. Default: WINDLASS_PROJECT.")
limit_option = click.option(
    "--limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="At most so many."
)
