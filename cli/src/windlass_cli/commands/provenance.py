"""``windlass run provenance``."""

from __future__ import annotations

import os

import click

from windlass_cli.output import print_json
from windlass_cli.state import State, pass_state

__all__ = ["provenance"]


@click.command()
@click.argument("run_id")
@click.option(
    "--key", default="", metavar="PATH|SECRET",
    help="Ed25519 key to sign with, a file or env/NAME. Default: WINDLASS_SIGNING_KEY.",
)  # fmt: skip
@pass_state
def provenance(state: State, run_id: str, key: str) -> None:
    """Print where the run RUN_ID comes from, as an in-toto statement; in a signed envelope when there is a key."""
    from windlass.launch.provenance import signed, statement

    document = statement(state.store.runs.get(run_id), state.store)
    key = key or os.environ.get("WINDLASS_SIGNING_KEY", "")
    if key:
        from windlass.trust.keys import load_signing_key

        document = signed(document, load_signing_key(key))
    print_json(document)
