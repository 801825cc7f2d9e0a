"""``windlass artifact``: compare, verify, lineage, cache."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import click

from windlass_cli import shapes
from windlass_cli.options import json_option
from windlass_cli.output import print_json, size, table
from windlass_cli.state import State, pass_state

if TYPE_CHECKING:
    from windlass.artifacts.cache import Cache
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


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--undelete", default=7.0, show_default=True, metavar="DAYS", help="Deleted versions are kept so long.")
@json_option
@pass_state
def gc(state: State, dry_run: bool, undelete: float, as_json: bool) -> None:
    """Remove the bytes that no version needs; uploads may go on meanwhile."""
    import attrs

    from windlass.artifacts.gc import collect_garbage

    report = collect_garbage(state.store, dry_run=dry_run, undelete=undelete * 86400)
    if as_json:
        print_json(attrs.asdict(report))
        return
    verb = "Would remove" if dry_run else "Removed"
    click.echo(f"{verb} {size(report.freed_bytes)} in {report.freed_blobs} blobs; {report.live_blobs} are needed.")


@click.group()
def cache() -> None:
    """The local cache: size and clean-up."""


def _cache(state: State) -> Cache:
    return state.engine.cache


@cache.command()
@json_option
@pass_state
def info(state: State, as_json: bool) -> None:
    """Show where the cache is and how large."""
    found = _cache(state).info()
    if as_json:
        print_json(
            {
                "path": found.folder,
                "size": found.bytes,
                "files": found.objects,
                "limit": found.limit,
                "in_use": found.leased,
            }
        )
    else:
        click.echo(f"{found.folder}: {size(found.bytes)} of {size(found.limit)} in {found.objects} files")


@cache.command()
@click.argument("target", default="0", metavar="SIZE")
@json_option
@pass_state
def cleanup(state: State, target: str, as_json: bool) -> None:
    """Remove what was used least lately until at most SIZE is left (10GB, 500MB …; 0 for everything)."""
    from windlass.artifacts.cache import parse_size

    limit = parse_size(target)
    found = _cache(state)
    removed, left = found.clean(limit), found.info().bytes
    if as_json:
        print_json({"removed": removed, "size": left})
    else:
        click.echo(f"Removed {size(removed)}; {size(left)} left.")
