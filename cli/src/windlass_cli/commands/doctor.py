"""``windlass doctor``."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import click

from windlass_cli.options import json_option
from windlass_cli.output import print_json, size, table
from windlass_cli.state import State, pass_state

if TYPE_CHECKING:
    from windlass.errors import WindlassError

_LOW_SPACE = 1 << 30


@click.command()
@json_option
@pass_state
def doctor(state: State, as_json: bool) -> int:
    """Find out what works here and what does not. Exit code 1 when something that is needed does not work."""
    rows = list(_checks(state))
    if as_json:
        keys = ("check", "status", "detail")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        table(("check", "status", "detail"), rows, empty="")
    return 1 if any(status == "problem" for _, status, _ in rows) else 0


def _checks(state: State) -> Iterator[tuple[str, str, str]]:
    from windlass import __version__

    yield "windlass", "ok", f"{__version__}, Python {platform.python_version()}"
    yield _home(state)
    yield _try("metadata store", state.settings.store_url, partial(_check_store, state))
    for kind in ("builder", "runner", "registry", "environment", "storage", "serializer", "metastore"):
        for info, found in state.app.catalog(kind).get_all():
            if isinstance(found, Exception):
                yield f"{kind} {info.name}", "problem", str(found)
    for name in ("process", "docker"):
        if name in state.app.runners.names():
            yield _try(f"runner {name}", "ready", partial(_check_runner, state, name), needed=name == "process")
    git = shutil.which("git")
    yield "git", "ok" if git else "warning", git or "not installed: git jobs cannot be launched here"


def _home(state: State) -> tuple[str, str, str]:
    home = state.settings.home
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.W_OK):
            return "home", "problem", f"{home} cannot be written; set WINDLASS_HOME"
        free = shutil.disk_usage(home).free
    except OSError as error:
        return "home", "problem", f"{home}: {error.strerror}; set WINDLASS_HOME"
    return "home", "ok" if free > _LOW_SPACE else "warning", f"{home}, {size(free)} free"


def _check_store(state: State) -> None:
    state.store.check()  # opening it may fail as well


def _check_runner(state: State, name: str) -> None:
    runner = state.app.create_runner(name)
    try:
        runner.check()
    finally:
        runner.close()


def _try(check: str, detail: str, call: Callable[[], None], *, needed: bool = True) -> tuple[str, str, str]:
    from windlass.errors import WindlassError

    try:
        call()
    except WindlassError as error:
        return check, "problem" if needed else "warning", _short(error)
    return check, "ok", detail


def _short(error: WindlassError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
