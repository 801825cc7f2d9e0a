"""``windlass store``."""

from __future__ import annotations

import os

import click

from windlass_cli.options import json_option
from windlass_cli.output import note, print_json
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group


@lazy_group("store")
def store() -> None:
    """Metadata stores as a whole."""


@click.command()
@click.argument("url", required=False, default="")
@click.option("--to", "version", type=click.IntRange(1), help="An older version; default: the one of this program.")
@pass_state
def migrate(state: State, url: str, version: int | None) -> None:
    """Upgrade the database at URL (default: WINDLASS_BASE_URL), or take it back to an older version's schema.

    Stop agents and servers first, and make a backup. What an older schema has no place for is lost.
    """
    from windlass.errors import UsageError
    from windlass.plugins.lookup import metastore_name

    url = url or state.app.settings.store_url
    if url.startswith(("http:", "https:", "unix:")):
        raise UsageError(
            "a server brings its database to its own version when it starts", where=url,
            hint="To do it by hand, name the database itself, on the server's host.",
        )  # fmt: skip
    config = {"url": url, "schema_version": version} if version else {"url": url, "upgrade": True}
    state.app.create("metastore", metastore_name(state.app, url), config).close()
    note(f"The database has schema {version}." if version else "The database is up to date.")


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@json_option
@pass_state
def copy(state: State, source: str, target: str, as_json: bool) -> None:
    """Copy everything from the store FROM into the empty store TO (sqlite:///… or postgresql://…).

    Stop agents and servers first: what they write meanwhile is not copied. FROM stays as it is.
    """
    from windlass.errors import UsageError

    file = source.removeprefix("sqlite:///")
    if file != source and not os.path.isfile(file):
        raise UsageError(
            "there is no such database", where=source, hint="An absolute path follows three slashes: sqlite:////home/…"
        )
    old, new = state.app.open_store(source), None
    try:
        new = state.app.open_store(target)
        counts = old.copy_to(new)
    finally:
        for opened in (old, new):
            if opened is not None:
                opened.close()
    if as_json:
        print_json(counts)
    else:
        rows = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        note(f"Copied {rows or 'an empty store'}.")
