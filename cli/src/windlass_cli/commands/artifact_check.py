"""``windlass artifact``: compare, verify, lineage, cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from windlass_cli import shapes
from windlass_cli.options import json_option
from windlass_cli.output import print_json, size, table
from windlass_cli.state import State, pass_state

if TYPE_CHECKING:
    from windlass.models.run import Run


@click.command()
@click.argument("old")
@click.argument("new")
@json_option
@pass_state
def diff(state: State, old: str, new: str, as_json: bool) -> None:
    """Compare the versions OLD and NEW: which entries were added, removed or changed."""
    before, after = (
        {e.path: e for e in state.engine.get(p, entity=state.settings.entity, project=state.settings.project).entries()}
        for p in (old, new)
    )
    added = sorted(after.keys() - before.keys())
    removed = sorted(before.keys() - after.keys())
    changed = sorted(path for path in after.keys() & before.keys() if after[path].digest != before[path].digest)
    if as_json:
        print_json({"added": added, "removed": removed, "changed": changed})
        return
    rows = [
        *(("+", path, "-", size(after[path].size)) for path in added),
        *(("-", path, size(before[path].size), "-") for path in removed),
        *(("~", path, size(before[path].size), size(after[path].size)) for path in changed),
    ]
    table(("", "path", "old", "new"), rows, empty="They hold the same.")


@click.command()
@click.argument("path")
@json_option
@pass_state
def verify(state: State, path: str, as_json: bool) -> None:
    """Read every byte of the version PATH and compare it with its digest."""
    found = state.engine.get(path, entity=state.settings.entity, project=state.settings.project)
    with tempfile.TemporaryDirectory(prefix="windlass-verify-") as folder:
        found.download(root=folder)
    if as_json:
        print_json({"path": found.info.path, "ok": True, "entries": found.info.entries, "size": found.info.size})
    else:
        click.echo(f"{found.info.path}: {found.info.entries} entries, {size(found.info.size)}, all as recorded")


@click.command()
@click.argument("path")
@json_option
@pass_state
def lineage(state: State, path: str, as_json: bool) -> None:
    """Show which runs made and used the version PATH."""
    found = state.engine.get(path, entity=state.settings.entity, project=state.settings.project)
    edges = state.store.artifacts.edges(version_id=found.info.id)
    if as_json:
        print_json([shapes.edge(edge, found.info) for edge in edges])
        return
    words = {"output": "made by", "input": "used by"}
    table(
        ("", "run", "state", "job"),
        [
            (words[edge.kind.value], edge.run, run.state if run else "deleted", run.job if run else "")
            for edge, run in ((edge, _run(state, edge.run)) for edge in edges)
        ],
        empty=f"No run made or used {found.info.path}.",
    )


def _run(state: State, run_id: str) -> Run | None:
    from windlass.errors import RunNotFoundError

    try:
        return state.store.runs.get(run_id)
    except RunNotFoundError:
        return None


@click.group()
def cache() -> None:
    """The local cache: size and clean-up."""


@cache.command()
@json_option
@pass_state
def info(state: State, as_json: bool) -> None:
    """Show where the cache is and how large."""
    folder = state.settings.cache_dir
    files = _files(folder)
    total = sum(stat.st_size for _, stat in files)
    if as_json:
        print_json({"path": str(folder), "size": total, "files": len(files)})
    else:
        click.echo(f"{folder}: {size(total)} in {len(files)} files")


@cache.command()
@click.argument("target", default="0", metavar="SIZE")
@json_option
@pass_state
def cleanup(state: State, target: str, as_json: bool) -> None:
    """Remove what was used least lately until at most SIZE is left (10GB, 500MB …; 0 for everything)."""
    limit = _bytes(target)
    files = sorted(_files(state.settings.cache_dir), key=lambda item: max(item[1].st_atime, item[1].st_mtime))
    total = sum(stat.st_size for _, stat in files)
    removed = 0
    for path, stat in files:
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= stat.st_size
        removed += stat.st_size
    for folder in sorted(state.settings.cache_dir.glob("**/"), reverse=True):
        if folder != state.settings.cache_dir and folder.is_dir() and not any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json({"removed": removed, "size": total})
    else:
        click.echo(f"Removed {size(removed)}; {size(total)} left.")


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    if not folder.is_dir():
        return []
    return [(path, path.stat()) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def _bytes(text: str) -> int:
    import re

    from windlass.errors import UsageError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no size", where="artifact cache cleanup", hint="e.g. 10GB, 500MB or 0.")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** " kmgt".index(match[2] or " "))
