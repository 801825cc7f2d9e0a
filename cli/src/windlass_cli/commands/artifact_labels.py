"""``windlass artifact``: aliases and tags of versions that are there."""

from __future__ import annotations

import click

from windlass_cli import shapes
from windlass_cli.commands.artifact_check import find
from windlass_cli.options import json_option
from windlass_cli.output import print_json
from windlass_cli.state import State, pass_state


@click.command()
@click.argument("path")
@click.option("-a", "--alias", "aliases", multiple=True, help="Point this alias at it. May be repeated.")
@click.option("--remove-alias", "no_aliases", multiple=True, metavar="ALIAS", help="Take this alias away.")
@click.option("--tag", "tags", multiple=True, help="Give it this tag. May be repeated.")
@click.option("--remove-tag", "no_tags", multiple=True, metavar="TAG", help="Take this tag away.")
@click.option("-d", "--description", help="For people.")
@json_option
@pass_state
def label(
    state: State, path: str, aliases: tuple[str, ...], no_aliases: tuple[str, ...], tags: tuple[str, ...],
    no_tags: tuple[str, ...], description: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Change the labels of the version PATH. An alias moves away from the version that had it."""
    from windlass.artifacts.names import check_alias, check_tag
    from windlass.errors import UsageError
    from windlass.models.artifact import VersionUpdate

    changes = VersionUpdate(
        description=description,
        add_aliases=tuple(check_alias(alias) for alias in aliases),
        remove_aliases=no_aliases,
        add_tags=tuple(check_tag(tag) for tag in tags),
        remove_tags=no_tags,
    )
    if changes == VersionUpdate():
        raise UsageError("there is nothing to change", where="artifact label", hint="e.g. --alias production")
    found = state.store.artifacts.update(find(state, path).id, changes)
    if as_json:
        print_json(shapes.artifact(found))
    else:
        click.echo(f"{found.path}  aliases: {', '.join(found.aliases) or '-'}  tags: {', '.join(found.tags) or '-'}")


@click.command()
@click.argument("path")
@click.argument("collection")
@click.option("-a", "--alias", "aliases", multiple=True, help="Its alias there, beside latest. May be repeated.")
@json_option
@pass_state
def link(state: State, path: str, collection: str, aliases: tuple[str, ...], as_json: bool) -> None:
    """Make the version PATH a version of [[entity/]project/]COLLECTION, too; no byte is copied.

    It has a number, aliases and labels of its own there, and stays when PATH is deleted. To unlink, delete it.
    """
    from windlass.artifacts import linking

    settings = state.settings
    linked = linking.link(
        state.engine, find(state, path), collection,
        entity=settings.entity, project=settings.project, aliases=aliases,
    )  # fmt: skip
    if as_json:
        print_json(shapes.artifact(linked.info))
    else:
        click.echo(f"{linked.info.path}  aliases: {', '.join(linked.aliases)}")


@click.command()
@click.argument("name")
@click.argument("aliases", nargs=-1, metavar="[ALIAS]...")
@click.option("--remove", is_flag=True, help="Protect these aliases no longer.")
@json_option
@pass_state
def protect(state: State, name: str, aliases: tuple[str, ...], remove: bool, as_json: bool) -> None:
    """Protect aliases of the artifact NAME: only owners move them, and what they point at cannot be deleted.

    Without ALIAS, say which are protected.
    """
    from windlass.artifacts.names import check_alias, parse_ref
    from windlass.models.artifact import CollectionUpdate

    ref = parse_ref(name, entity=state.settings.entity, project=state.settings.project)
    found = state.store.artifacts.collection(ref.entity, ref.project, ref.name)
    if aliases:
        given = [check_alias(alias) for alias in aliases]
        before = [alias for alias in found.protected_aliases if alias not in given]
        wanted = tuple(before if remove else [*before, *given])
        found = state.store.artifacts.update_collection(
            ref.entity, ref.project, ref.name, CollectionUpdate(protected_aliases=wanted)
        )
    path = f"{found.entity}/{found.project}/{found.name}"
    if as_json:
        print_json({"path": path, "protected_aliases": list(found.protected_aliases)})
    else:
        click.echo(f"{path}  protected: {', '.join(found.protected_aliases) or '-'}")
