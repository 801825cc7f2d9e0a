"""``windlass artifact``: put, get, list, show."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click

from windlass_cli import shapes
from windlass_cli.options import UNITS, json_option, limit_option
from windlass_cli.output import ago, facts, note, print_json, size, table, yaml_text
from windlass_cli.progress import Progress
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group

if TYPE_CHECKING:
    from windlass.artifacts.manifest import Entry

_URI = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://")


@lazy_group("artifact")
def artifact() -> None:
    """Artifacts: put, get, list, compare, verify."""


@click.command()
@click.argument("path")
@click.option("-n", "--name", default="", help="[[entity/]project/]name. Default: the file name.")
@click.option("-t", "--type", "type_", default="dataset", show_default=True, help="Its type.")
@click.option("-d", "--description", default="", help="For people.")
@click.option("-a", "--alias", "aliases", multiple=True, help="Alias beside latest. May be repeated.")
@click.option("--tag", "tags", multiple=True, help="Tag of the version. May be repeated.")
@click.option("--metadata", default="", help="JSON object, or the path of a YAML or JSON file.")
@click.option("--include", multiple=True, metavar="GLOB", help="Of a directory, only these files. May be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Of a directory, not these files. May be repeated.")
@click.option(
    "--symlinks", type=click.Choice(["error", "follow", "skip"]), default="error", show_default=True,
    help="Of a directory or file:// URI, what becomes of links in it: refused, taken as what they lead to, left out.",
)  # fmt: skip
@click.option("--incremental", is_flag=True, help="On top of what the latest version holds.")
@click.option("--ttl", default="", metavar="TIME", help="Life time of the version: 12h, 30d …. Default: for ever.")
@click.option("--max-objects", type=click.IntRange(min=1), metavar="N", help="Of a URI, more objects are an error.")
@click.option("--no-checksum", is_flag=True, help="Of a URI, record the address only; changes go unnoticed.")
@click.option("--id", "run_id", default="", metavar="RUN_ID", help="Record it as an output of that run.")
@json_option
@pass_state
def put(
    state: State, path: str, name: str, type_: str, description: str, aliases: tuple[str, ...], tags: tuple[str, ...],
    metadata: str, include: tuple[str, ...], exclude: tuple[str, ...], symlinks: str, incremental: bool, ttl: str,
    max_objects: int | None, no_checksum: bool, run_id: str, as_json: bool,
) -> None:  # fmt: skip
    """Store the file, directory or URI PATH as a version; a URI is tracked by reference.

    Content that the collection has already makes no new version; what is said beside it is given to that version.
    """
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.names import MAX_OBJECTS
    from windlass.errors import UsageError

    is_uri = _URI.match(path) is not None
    if not is_uri and not os.path.exists(path):
        raise UsageError(f"there is no file or directory '{path}'", where="artifact put", hint="Check the path.")
    if not is_uri and not os.path.isfile(path) and not os.path.isdir(path):
        raise UsageError(
            f"'{path}' is neither a file nor a directory",
            where="artifact put",
            hint="Write its content to a file first.",
        )
    project_path, slash, base = name.rpartition("/")
    entity, project = _split(state, project_path or slash, f"--name {name}")
    base = (
        base or os.path.basename(os.path.abspath(path)) if not is_uri else base or path.rstrip("/").rpartition("/")[2]
    )
    if run_id:
        owner = state.store.runs.get(run_id)
        entity, project = owner.entity, owner.project
    _check_fit(
        path,
        "a URI" if is_uri else "a directory" if os.path.isdir(path) else "a file",
        {
            "--include": (include, "a directory"),
            "--exclude": (exclude, "a directory"),
            "--no-checksum": (no_checksum, "a URI"),
            "--max-objects": (max_objects, "a URI"),
        },
    )
    made = Artifact(base, type_, description or None, _metadata(metadata), incremental=incremental)
    made.ttl_seconds = _seconds(ttl)
    made.app = state.app
    if is_uri:
        made.add_reference(path, checksum=not no_checksum, max_objects=max_objects or MAX_OBJECTS, symlinks=symlinks)
    elif os.path.isdir(path):
        if not made.add_dir(path, symlinks=symlinks, include=include, exclude=exclude):
            raise UsageError(
                f"nothing in the directory '{path}' is taken",
                where="artifact put",
                hint="It is empty, or --include, --exclude and .windlassignore leave nothing.",
            )
    else:
        made.add_file(path)
    with Progress("stored", made.size) as progress:
        stored = state.engine.log(
            made, entity=entity, project=project, run=run_id, aliases=aliases, tags=tags, done=progress
        )
    if not stored.new_version:
        note(f"No new version: {stored.info.path} has this content already.")
    if as_json:
        print_json(shapes.artifact(stored.info))
    else:
        files = "file" if stored.info.entries == 1 else "files"
        click.echo(
            f"{stored.info.path}  {size(stored.info.size)} in {stored.info.entries} {files}  {stored.info.digest}"
        )


def _check_fit(path: str, kind: str, flags: dict[str, tuple[Any, str]]) -> None:
    """Raise for a flag that says nothing about this kind of thing; it would be overlooked."""
    from windlass.errors import UsageError

    for flag, (value, of) in flags.items():
        if value and kind != of:
            raise UsageError(f"it is for {of}, and '{path}' is {kind}", where=flag, hint="Leave it out.")


def _seconds(text: str) -> float | None:
    """Seconds from ``90``, ``12h``, ``30d`` …; None for nothing."""
    if not text:
        return None
    from windlass.errors import UsageError
    from windlass.models import LONGEST

    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhdw]?)", text.strip().lower())
    seconds = float(match[1]) * UNITS[match[2] or "s"] if match else 0.0
    if not 0 < seconds <= LONGEST:
        raise UsageError(
            f"'{text}' is not a life time",
            where="--ttl",
            hint="e.g. 12h, 30d or 8w; at most ten years.",
        )
    return seconds


def _metadata(text: str) -> dict[str, Any]:
    if not text:
        return {}
    from windlass.config.document import load, loads
    from windlass.errors import ConfigError

    document = loads(text, "--metadata") if text.lstrip()[:1] in ("{", "[") else load(text)
    if not isinstance(document.data, dict):
        raise ConfigError("expected a mapping", where="--metadata", hint='e.g. {"rows": 100}')
    return document.data


def _split(state: State, path: str, where: str) -> tuple[str, str]:
    from windlass.errors import UsageError

    parts = path.split("/") if path else []
    if len(parts) > 2 or "" in parts:
        raise UsageError(
            "it does not name an artifact", where=where, hint="Write name, project/name or entity/project/name."
        )
    project = parts[-1] if parts else state.settings.project
    return (parts[0] if len(parts) == 2 else state.settings.entity), project


@click.command()
@click.argument("path")
@click.option("--root", default="", metavar="DIR", help="Where to. Default: WINDLASS_ARTIFACT_DIR/<name>:<version>.")
@click.option("-t", "--type", "type_", default="", help="Fail if it has another type.")
@click.option("--path-prefix", default="", metavar="FOLDER", help="Only what is at or below this path in it.")
@click.option("--include", multiple=True, metavar="GLOB", help="Only these entries. May be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Not these entries. May be repeated.")
@click.option("--checkout", is_flag=True, help="Also delete what is in DIR and not in the version.")
@click.option("--allow-missing", is_flag=True, help="Go on when the target of a reference is gone.")
@click.option("--link", type=click.Choice(["auto", "hard", "copy"]), help="Share content with the cache, or copy it.")
@json_option
@pass_state
def get(
    state: State, path: str, root: str, type_: str, path_prefix: str, include: tuple[str, ...],
    exclude: tuple[str, ...], checkout: bool, allow_missing: bool, link: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Download the version PATH ([[entity/]project/]name[:alias|:v3|@digest]); every byte is verified."""
    from windlass.artifacts.patterns import Patterns
    from windlass.errors import ArtifactNotFoundError, UsageError

    if checkout and (path_prefix or include or exclude):
        raise UsageError("a checkout is of the whole version", where="--checkout", hint="Leave the filters out.")
    engine = state.engine
    found = engine.get(path, type=type_, entity=state.settings.entity, project=state.settings.project)
    engine.look_for(found.manifest, path_prefix)  # before a folder is claimed
    if include or exclude:
        patterns = Patterns(include, exclude)
        if not any(patterns.takes(entry.path) for entry in found.entries(path_prefix)):
            raise ArtifactNotFoundError(
                "--include and --exclude leave nothing of the artifact",
                where=found.info.path,
                hint=f"What it has is shown by: windlass artifact show {found.info.path}",
            )
    folder = found.target(root or None)
    with Progress("got", 0 if path_prefix or include or exclude else found.size) as progress:
        if checkout:
            missing = engine.checkout(
                found.manifest, folder, link=link or "", allow_missing=allow_missing, done=progress
            )
        else:
            missing = engine.download(
                found.manifest, folder, prefix=path_prefix, include=include, exclude=exclude,
                allow_missing=allow_missing, link=link or "", done=progress,
            )  # fmt: skip
    if as_json:
        print_json(shapes.artifact(found.info) | {"root": folder, "missing": [entry.path for entry in missing]})
        return
    for entry in missing:
        note(f"missing: {entry.path} ({entry.ref})")
    click.echo(folder)


@click.command()
@click.argument("path", default="")
@click.option("-t", "--type", "type_", default="", help="Only this type.")
@click.option("--tag", "tags", multiple=True, help="Only versions with this tag. May be repeated.")
@click.option("--deleted", is_flag=True, help="Deleted versions, which can still be restored.")
@limit_option
@json_option
@pass_state
def ls(state: State, path: str, type_: str, tags: tuple[str, ...], deleted: bool, limit: int, as_json: bool) -> None:
    """List versions, newest first: of PATH = [entity/]project or entity/project/name, or of the present project."""
    from windlass.artifacts.names import parse_collection
    from windlass.models.artifact import ArtifactFilter

    own, name = state.settings, ""
    if path.count("/") == 2:
        ref = parse_collection(path, entity="", project="")
        entity, project, name = ref.entity, ref.project, ref.name
    else:
        entity, project = _split(state, path, f"artifact ls {path}")
    found = state.store.artifacts.list(
        ArtifactFilter(entity=entity, project=project, name=name, type=type_, tags=tags, deleted=deleted, limit=limit)
    )
    if not found and path and not name:
        above, _, base = path.rpartition("/")
        above = above or own.project
        wanted = ArtifactFilter(entity=own.entity, project=above, name=base, deleted=deleted, limit=1)
        if state.store.artifacts.list(wanted):
            hint = f"windlass artifact ls {own.entity}/{above}/{base}"
            note(f"'{path}' was read as [entity/]project. The collection of that name is listed by: {hint}")
    if as_json:
        print_json([shapes.artifact(item) for item in found])
        return
    table(
        ("name", "version", "type", "aliases", "size", "files", "run", "created"),
        [
            (v.name, f"v{v.version}", v.type, ", ".join(v.aliases), size(v.size), v.entries, v.run, ago(v.created_at))
            for v in found
        ],
        empty=f"There are no artifacts in {entity}/{project}{'/' if name else ''}{name}. "
        "Store one with: windlass artifact put PATH",
    )


@click.command()
@click.argument("path")
@json_option
@pass_state
def show(state: State, path: str, as_json: bool) -> None:
    """Show the version PATH and its entries."""
    found = state.engine.get(path, entity=state.settings.entity, project=state.settings.project)
    shape = shapes.artifact(found.info)
    entries = list(found.entries())
    if as_json:
        files = [
            {"path": e.path, "size": shapes.size(e.size), "digest": e.digest, "ref": e.ref or None} for e in entries
        ]
        print_json(shape | {"files": files, "signatures": list(found.info.signatures)})
        return
    for key in ("name", "version", "entity", "project", "id"):
        shape.pop(key)
    shape["aliases"], shape["tags"] = ", ".join(shape["aliases"]), ", ".join(shape["tags"])
    shape["size"], shape["metadata"] = _total(entries), yaml_text(shape["metadata"])
    shape["signed by"] = ", ".join(str(s.get("key", "?")) for s in found.info.signatures if isinstance(s, dict))
    facts(shape)
    click.echo()
    rows = [(e.path, size(e.size), e.ref or e.digest) for e in entries]
    table(("path", "size", "digest or address"), rows, empty="It has no entries.")


def _total(entries: list[Entry]) -> str:
    unknown = sum(entry.size < 0 for entry in entries)
    known = size(sum(max(entry.size, 0) for entry in entries))
    return f"at least {known}, {unknown} of {len(entries)} sizes are unknown" if unknown else known
