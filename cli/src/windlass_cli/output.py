"""What commands print: tables and facts for people, JSON for programs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

__all__ = ["ago", "facts", "iso", "note", "print_json", "seconds", "size", "table", "yaml_text"]

_COLORS = {
    "finished": "green", "running": "cyan", "pending": "yellow", "queued": "blue", "failed": "red", "crashed": "red",
    "killed": "magenta", "ok": "green", "problem": "red", "warning": "yellow", "lost": "red", "paused": "yellow",
}  # fmt: skip


_LAST = 253402300799.0
"""The last second that has a date, that of the year 9999."""


def print_json(value: Any) -> None:
    """Print a JSON document: indented on a terminal, compact in a pipe."""
    click.echo(json_text(value, indent=2 if sys.stdout.isatty() else None))


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON; numbers that JSON does not have are texts."""
    import json  # tables and facts do without

    try:
        return json.dumps(value, ensure_ascii=False, indent=indent, default=str, allow_nan=False)
    except ValueError:
        from windlass.sdk.values import finite

        return json.dumps(finite(value), ensure_ascii=False, indent=indent, default=str)


def yaml_text(value: Any) -> str:
    """A value as YAML; empty for nothing."""
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip() if value else ""


def iso(timestamp: float) -> str | None:
    """A time as ISO 8601 in UTC with milliseconds; None for "not yet". Behind the year 9999 it is the end of that."""
    if not timestamp:
        return None
    timestamp = min(timestamp, _LAST)
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(timestamp: float) -> str:
    """How long ago, in one short word."""
    if not timestamp:
        return "-"
    passed = max(0.0, time.time() - timestamp)
    for limit, divisor, unit in ((90, 1, "s"), (5400, 60, "min"), (129600, 3600, "h")):
        if passed < limit:
            return f"{passed / divisor:.0f} {unit} ago"
    return f"{passed / 86400:.0f} d ago"


def seconds(value: float | None) -> str:
    """A duration in a short form."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(count: float) -> str:
    """A number of bytes in a short form; below 0 it is not known."""
    if count < 0:
        return "unknown size"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print rows in columns: with rich on a terminal, as plain text in a pipe."""
    texts = [[str(cell) for cell in row] for row in rows]
    if not texts:
        note(empty)
        return
    if sys.stdout.isatty():
        _rich_table(headers, texts)
        return
    widths = [max(len(row[i]) for row in [list(headers), *texts]) for i in range(len(headers))]
    for row in [[h.upper() for h in headers], *texts]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(headers: Sequence[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        shown.add_column(header, overflow="fold", no_wrap=header in ("id", "state", "version", "kind", "name"))
    for row in rows:
        shown.add_row(*(Text(cell, style=_COLORS.get(cell, "")) for cell in row))
    Console().print(shown)


def facts(values: Mapping[str, Any]) -> None:
    """Print names and values below each other; what is empty is left out."""
    shown = {key: value for key, value in values.items() if value not in ("", None, (), {}, [])}
    width = max((len(key) for key in shown), default=0)
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for key, value in shown.items():
        lines = str(value).splitlines() or [""]
        first = click.style(lines[0], fg=_COLORS[lines[0]]) if color and lines[0] in _COLORS else lines[0]
        click.echo(f"{key.ljust(width)}  {first}")
        for line in lines[1:]:
            click.echo(f"{' ' * width}  {line}")


def note(text: str) -> None:
    """Tell people something on stderr, so that pipes stay clean."""
    click.echo(text, err=True)
