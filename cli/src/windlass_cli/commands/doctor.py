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
_NO_SPACE = 1 << 20  # an agent starts nothing then
_PROBE = b"written by windlass doctor\n"
_KINDS = ("builder", "runner", "registry", "environment", "storage", "serializer", "metastore")

Row = tuple[str, str, str]


@click.command()
@click.option("-c", "--config", "path", default=None, metavar="FILE", help="launch-config.yaml of the agent.")
@click.option("-q", "--queue", "queues", multiple=True, help="Queue that an agent is to serve. May be repeated.")
@json_option
@pass_state
def doctor(state: State, path: str | None, queues: tuple[str, ...], as_json: bool) -> int:
    """Find out what works here and what does not. Exit code 1 when something that is needed does not work.

    Tries plugins, metadata store and blob store, and what the agent's configuration names: environment, registry,
    builder, queues and their runners.
    """
    rows = list(_checks(state, path, queues))
    if as_json:
        keys = ("check", "status", "detail")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        table(("check", "status", "detail"), rows, empty="")
    return 1 if any(status == "problem" for _, status, _ in rows) else 0


def _checks(state: State, path: str | None, queues: tuple[str, ...]) -> Iterator[Row]:
    from windlass import __version__

    yield "windlass", "ok", f"{__version__}, Python {platform.python_version()}"
    yield _home(state)
    store = _try("metadata store", state.settings.store_url, partial(_check_store, state))
    yield store
    if store[1] == "ok":
        yield _try("blob store", "written and read back", partial(_check_blobs, state))
    yield from _plugins(state)
    yield from _agent(state, path, queues, reachable=store[1] == "ok")
    git = shutil.which("git")
    yield "git", "ok" if git else "warning", git or "not installed: git jobs cannot be launched here"


def _plugins(state: State) -> Iterator[Row]:
    from windlass.errors import PluginError
    from windlass.plugins.plain import PLAIN_KINDS, check_plain, plain_infos

    found: dict[tuple[str, str], PluginError | None] = {}
    installed = state.app.installed()
    for kind, name in dict.fromkeys((i.kind, i.name) for i in installed if i.kind in PLAIN_KINDS):
        found[kind, name] = None
        try:
            for info in plain_infos(installed, kind, name):
                check_plain(info)
        except PluginError as error:
            found[kind, name] = error
    for kind in _KINDS:
        for info, descriptor in state.app.catalog(kind).get_all():
            found[kind, info.name] = descriptor if isinstance(descriptor, PluginError) else None
    for (kind, name), problem in found.items():
        if problem is not None:
            yield f"{kind} {name}", "problem", str(problem)
    useless = sum(problem is not None for problem in found.values())
    yield "plugins", "ok", f"{len(found)} found" + (f", {useless} of them cannot be used" if useless else "")


def _agent(state: State, path: str | None, queues: tuple[str, ...], *, reachable: bool) -> Iterator[Row]:
    from windlass.errors import WindlassError

    try:
        from windlass_agent.config import load
        from windlass_agent.doctor import examine
    except ImportError:
        yield "agent", "warning", "not installed: nothing can be run here; pip install windlass-agent"
        return
    try:
        config = load(path, {"queues": queues})
    except WindlassError as error:
        yield "agent's configuration", "problem", _short(error)
        return
    for found in examine(config, state.app, state.store if reachable else None):
        yield found.check, found.status, found.detail


def _home(state: State) -> Row:
    home = state.settings.home
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.W_OK):
            return "home", "problem", f"{home} cannot be written; set WINDLASS_HOME"
        free = shutil.disk_usage(home).free
    except OSError as error:
        return "home", "problem", f"{home}: {error.strerror}; set WINDLASS_HOME"
    status = "ok" if free > _LOW_SPACE else "warning" if free > _NO_SPACE else "problem"
    return "home", status, f"{home}, {size(free)} free"


def _check_store(state: State) -> None:
    state.store.check()  # opening it may fail as well


def _check_blobs(state: State) -> None:
    from windlass.artifacts.digest import digest_of
    from windlass.errors import IntegrityError

    digest = digest_of(_PROBE)  # always the same few bytes, so asking often leaves one blob at most
    state.store.blobs.put(digest, _PROBE)
    with state.store.blobs.open(digest) as file:
        found = file.read()
    if found != _PROBE:
        raise IntegrityError(
            f"wrote {len(_PROBE)} bytes and read {len(found)} others back", where=digest, hint="Check the disk."
        )


def _try(check: str, detail: str, call: Callable[[], None]) -> Row:
    from windlass.errors import WindlassError

    try:
        call()
    except WindlassError as error:
        return check, "problem", _short(error)
    return check, "ok", detail


def _short(error: WindlassError) -> str:
    from windlass.errors import ConfigError

    if isinstance(error, ConfigError) and error.problems:
        text = f"{error.message}: " + "; ".join(str(problem) for problem in error.problems)
    else:
        text = f"{error.where}: {error.message}" if error.where else error.message
    return f"{text}; {error.hint}" if error.hint else text
