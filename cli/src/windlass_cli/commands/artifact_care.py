"""``windlass artifact``: delete, restore, collect garbage, look after the cache."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import click

from windlass_cli import shapes
from windlass_cli.commands.artifact_check import find
from windlass_cli.options import json_option
from windlass_cli.output import note, print_json, size
from windlass_cli.state import State, pass_state

if TYPE_CHECKING:
    from windlass.artifacts.cache import Cache


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--force", is_flag=True, help="Even if it has aliases beside latest. Protected aliases always hold.")
@pass_state
def rm(state: State, paths: tuple[str, ...], force: bool) -> None:
    """Delete versions. They can be restored until garbage collection removes their bytes."""
    for info in [find(state, path).info for path in paths]:  # all are there before the first is deleted
        state.store.artifacts.delete(info.id, force)
        note(f"Deleted {info.path}.")


@click.command()
@click.argument("path")
@json_option
@pass_state
def restore(state: State, path: str, as_json: bool) -> None:
    """Undo the deletion of the version PATH (name:v3); `ls --deleted` lists what there is."""
    from windlass.artifacts.names import parse_ref
    from windlass.errors import ArtifactNotFoundError
    from windlass.models.artifact import ArtifactFilter

    ref = parse_ref(path, entity=state.settings.entity, project=state.settings.project)
    wanted = ArtifactFilter(entity=ref.entity, project=ref.project, name=ref.name, deleted=True, limit=10_000)
    deleted = state.store.artifacts.list(wanted)
    chosen = [v for v in deleted if ref.selector in (f"v{v.version}", v.digest)]
    if not chosen:
        there = ", ".join(f"v{version.version}" for version in deleted[:10]) or "none"
        raise ArtifactNotFoundError(
            f"there is no deleted version {ref}", hint=f"Deleted versions of it: {there}. Write name:v3."
        )
    back = state.store.artifacts.restore(chosen[0].id)
    if as_json:
        print_json(shapes.artifact(back))
    else:
        click.echo(f"Restored {back.path}.")


def _finite(_: click.Context, __: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--undelete", type=click.FloatRange(min=0), callback=_finite, default=7.0, show_default=True, metavar="DAYS",
    help="Deleted versions are kept so long.",
)  # fmt: skip
@click.option(
    "--grace", type=float, callback=_finite, default=1.0, show_default=True, metavar="HOURS",
    help="Younger bytes are spared.",
)  # fmt: skip
@json_option
@pass_state
def gc(state: State, dry_run: bool, undelete: float, grace: float, as_json: bool) -> None:
    """Remove the bytes that no version needs; uploads may go on meanwhile."""
    import sys

    import attrs

    from windlass.artifacts.gc import collect_garbage

    report = collect_garbage(
        state.store,
        dry_run=dry_run,
        undelete=undelete * 86400,
        grace=grace * 3600,
        progress=note if sys.stderr.isatty() else lambda _: None,
    )
    if as_json:
        print_json(attrs.asdict(report))
        return
    verb = "Would remove" if dry_run else "Removed"
    click.echo(f"{verb} {size(report.freed_bytes)} in {report.freed_blobs} blobs; {report.live_blobs} are needed.")
    for count, text in (
        (report.versions_purged, "versions would be gone for good" if dry_run else "versions are gone for good"),
        (report.young_blobs, "blobs are spared: they are young, or uploads are under way"),
        (report.restored_blobs, "blobs came back: an upload needs them"),
        (report.pending_blobs, "blobs wait for the next collection: uploads are under way"),
    ):
        if count:
            click.echo(f"{count} {text}.")


@click.group()
def cache() -> None:
    """The local cache: size and clean-up."""


def _cache(state: State) -> Cache:
    """The cache, without a store: that cannot be opened on the full disk that a clean-up is for."""
    from windlass.artifacts.cache import local_cache

    return local_cache(state.settings.cache_dir)


@cache.command()
@json_option
@pass_state
def info(state: State, as_json: bool) -> None:
    """Show where the cache is and how large."""
    found = _cache(state).info()
    if as_json:
        facts = {"path": found.folder, "size": found.bytes, "files": found.objects, "limit": found.limit}
        print_json(facts | {"in_use": found.leased})
    else:
        click.echo(f"{found.folder}: {size(found.bytes)} of {size(found.limit)} in {found.objects} files")


@cache.command()
@click.argument("target", default="0", metavar="SIZE")
@json_option
@pass_state
def clean(state: State, target: str, as_json: bool) -> None:
    """Remove what was used least lately until at most SIZE is left (10GB, 500MB …; 0 for everything)."""
    from windlass.artifacts.cache import parse_size
    from windlass.artifacts.naming import naming

    limit = parse_size(target)
    found = _cache(state)
    with naming(str(found.folder), "Change its permissions, or set WINDLASS_CACHE_DIR to the cache that is meant."):
        removed, left = found.clean(limit), found.info().bytes
    if as_json:
        print_json({"removed": removed, "size": left})
    else:
        click.echo(f"Removed {size(removed)}; {size(left)} left.")


cleanup = copy.copy(clean)  # the other name of the same
cleanup.hidden = True
cache.add_command(cleanup, "cleanup")
