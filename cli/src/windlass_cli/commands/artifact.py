"""``windlass artifact``: put, get, list, show, remove."""

from __future__ import annotations

import os
import re
from typing import Any

import click

from windlass_cli import shapes
from windlass_cli.options import json_option, limit_option
from windlass_cli.output import ago, facts, note, print_json, size, table
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group

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
@click.option("--id", "run_id", default="", metavar="RUN_ID", help="Record it as an output of that run.")
@json_option
@pass_state
def put(
    state: State, path: str, name: str, type_: str, description: str, aliases: tuple[str, ...], tags: tuple[str, ...],
    metadata: str, include: tuple[str, ...], exclude: tuple[str, ...], run_id: str, as_json: bool,
) -> None:  # fmt: skip
    """Store the file, directory or URI PATH as a version; a URI is tracked by reference."""
    from windlass.artifacts.artifact import Artifact
    from windlass.errors import UsageError

    is_uri = _URI.match(path) is not None
    if not is_uri and not os.path.exists(path):
        raise UsageError(f"there is no file or directory '{path}'", where="artifact put", hint="Check the path.")
    project_path, _, base = name.rpartition("/")
    entity, project = _split(state, project_path, f"--name {name}")
    base = (
        base or os.path.basename(os.path.abspath(path)) if not is_uri else base or path.rstrip("/").rpartition("/")[2]
    )
    if run_id:
        owner = state.store.runs.get(run_id)
        entity, project = owner.entity, owner.project
    made = Artifact(base, type_, description or None, _metadata(metadata))
    if is_uri:
        made.add_reference(path)
    elif os.path.isdir(path):
        made.add_dir(path, **_patterns(include, exclude))
    else:
        made.add_file(path)
    stored = state.engine.log(made, entity=entity, project=project, run=run_id, aliases=aliases, tags=tags)
    if as_json:
        print_json(shapes.artifact(stored.info))
    else:
        click.echo(f"{stored.info.path}  {size(stored.info.size)} in {stored.info.entries} files  {stored.info.digest}")


def _patterns(include: tuple[str, ...], exclude: tuple[str, ...]) -> dict[str, Any]:
    return {key: list(value) for key, value in (("include", include), ("exclude", exclude)) if value}


def _metadata(text: str) -> dict[str, Any]:
    if not text:
        return {}
    from windlass.config.document import load, loads
    from windlass.errors import ConfigError

    document = loads(text, "--metadata") if text.lstrip().startswith("{") else load(text)
    if not isinstance(document.data, dict):
        raise ConfigError("expected a mapping", where="--metadata", hint='e.g. {"rows": 100}')
    return document.data


def _split(state: State, path: str, where: str) -> tuple[str, str]:
    from windlass.errors import UsageError

    parts = [part for part in path.split("/") if part]
    if len(parts) > 2:
        raise UsageError("too many slashes", where=where, hint="Write name, project/name or entity/project/name.")
    project = parts[-1] if parts else state.settings.project
    return (parts[0] if len(parts) == 2 else state.settings.entity), project


@click.command()
@click.argument("path")
@click.option("--root", default="", metavar="DIR", help="Where to. Default: WINDLASS_ARTIFACT_DIR/<name>:<version>.")
@click.option("-t", "--type", "type_", default="", help="Fail if it has another type.")
@json_option
@pass_state
def get(state: State, path: str, root: str, type_: str, as_json: bool) -> None:
    """Download the version PATH ([[entity/]project/]name[:alias|:v3|@digest]); every byte is verified."""
    found = state.engine.get(path, type=type_, entity=state.settings.entity, project=state.settings.project)
    folder = os.path.abspath(str(found.download(root=root or None)))
    if as_json:
        print_json(shapes.artifact(found.info) | {"root": folder})
    else:
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
    """List versions, newest first: of PATH = [entity/]project, or of the present project."""
    from windlass.models.artifact import ArtifactFilter

    entity, project = _split(state, path, f"artifact ls {path}")
    found = state.store.artifacts.list(
        ArtifactFilter(entity=entity, project=project, type=type_, tags=tags, deleted=deleted, limit=limit)
    )
    if as_json:
        print_json([shapes.artifact(item) for item in found])
        return
    table(
        ("name", "version", "type", "aliases", "size", "files", "run", "created"),
        [
            (v.name, f"v{v.version}", v.type, ", ".join(v.aliases), size(v.size), v.entries, v.run, ago(v.created_at))
            for v in found
        ],
        empty=f"There are no artifacts in {entity}/{project}. Store one with: windlass artifact put PATH",
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
        files = [{"path": e.path, "size": e.size, "digest": e.digest} for e in entries]
        print_json(shape | {"files": files})
        return
    for key in ("name", "version", "entity", "project", "id"):
        shape.pop(key)
    shape["aliases"], shape["tags"] = ", ".join(shape["aliases"]), ", ".join(shape["tags"])
    shape["size"] = size(shape["size"])
    facts(shape)
    click.echo()
    table(("path", "size", "digest"), [(e.path, size(e.size), e.digest) for e in entries], empty="It has no entries.")


@click.command()
@click.argument("path")
@click.option("--force", is_flag=True, help="Even if it has aliases beside latest.")
@pass_state
def rm(state: State, path: str, force: bool) -> None:
    """Delete the version PATH. It can be restored until garbage collection removes its bytes."""
    found = state.engine.get(path, entity=state.settings.entity, project=state.settings.project)
    state.store.artifacts.delete(found.info.id, force)
    note(f"Deleted {found.info.path}.")
