"""``windlass login``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from windlass_cli.output import note
from windlass_cli.state import State, pass_state

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore
    from windlass.settings import Settings


@click.command()
@click.argument("host", default="")
@click.option("--key-file", default="", metavar="FILE", help="File with the API key; - reads standard input.")
@click.option("--anonymous", is_flag=True, help="The server asks for no key.")
@click.option("--no-verify", is_flag=True, help="Do not ask the server whether it knows the key.")
@click.option("--remove", is_flag=True, help="Forget the address and key.")
@pass_state
def login(state: State, host: str, key_file: str, anonymous: bool, no_verify: bool, remove: bool) -> None:
    """Keep the address HOST (https://…) and the API key of a server for later commands.

    The key is asked for; it is never taken from the command line, where others could see it.
    """
    from windlass.errors import UsageError
    from windlass.sdk import credentials

    home = state.settings.home
    if remove:
        note("Forgotten." if credentials.remove(home) else "There was nothing to forget.")
        return
    host = host or state.settings.base_url
    if not host.startswith(("http://", "https://")):
        raise UsageError("the address of a server is needed", where="HOST", hint="windlass login https://host:port")
    key = "" if anonymous else _read_key(key_file)
    entity = ""
    if not no_verify:
        store = _open(state.settings.replace(base_url=host, api_key=key))
        try:
            principal = store.whoami()
        finally:
            store.close()
        note(f"Signed in to {host} as {principal.name or principal.kind}.")
        entity = principal.name if principal.kind == "user" else ""
    credentials.write(home, host.rstrip("/"), key, entity)


def _open(settings: Settings) -> MetadataStore:
    from windlass.plugins.app import App

    return App(settings).open_store(settings.base_url)


def _read_key(key_file: str) -> str:
    from windlass.errors import UsageError

    if key_file == "-" or (not key_file and not sys.stdin.isatty()):
        key = sys.stdin.readline()
    elif key_file:
        with open(key_file, encoding="utf-8") as file:
            key = file.readline()
    else:
        key = str(click.prompt("API key", hide_input=True, err=True))
    if not key.strip():
        raise UsageError("the key is empty", where="login", hint="Paste the API key that the server's owner gave you.")
    return key.strip()
