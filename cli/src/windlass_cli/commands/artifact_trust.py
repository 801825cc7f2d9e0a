"""``windlass artifact``: keys, signatures, and looking into pickles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from windlass_cli.commands.artifact_check import find
from windlass_cli.options import json_option
from windlass_cli.output import print_json, table
from windlass_cli.state import State, pass_state

if TYPE_CHECKING:
    from windlass.config.secrets import Secret

_KEY = "~/.config/windlass/signing-key.pem"
_passphrase_option = click.option(
    "--passphrase", default="", metavar="SECRET", help="Secret reference of the key's passphrase, e.g. env/KEY_PASS."
)


@click.command()
@click.argument("file", default=_KEY)
@_passphrase_option
@json_option
@pass_state
def keygen(state: State, file: str, passphrase: str, as_json: bool) -> None:
    """Make a key pair for signatures: FILE, which stays here, and FILE.pub for those who verify."""
    from windlass.trust.keys import generate_key
    from windlass.trust.policy import policy_path

    key = generate_key(file, passphrase=_secret(passphrase))
    path = Path(file).expanduser().absolute()
    if as_json:
        print_json({"id": key.id, "private": str(path), "public": f"{path}.pub"})
        return
    click.echo(f"{path}  (private; keep it)\n{path}.pub\n{key.id}")
    click.echo(f"\nWho trusts it writes into {policy_path(state.settings.home)}:\n")
    click.echo(f"trusted-keys:\n  - name: {state.settings.entity}\n    public-key: {path}.pub")
    click.echo(f"    entities: [{state.settings.entity}]")


@click.command()
@click.argument("path")
@click.option("--key", default=_KEY, show_default=True, help="Private key: a file or a secret reference.")
@_passphrase_option
@json_option
@pass_state
def sign(state: State, path: str, key: str, passphrase: str, as_json: bool) -> None:
    """Sign the version PATH: its content and its name. Signing again with the same key adds nothing."""
    from windlass.models.artifact import VersionUpdate
    from windlass.trust.keys import load_signing_key
    from windlass.trust.signing import sign as make_signature
    from windlass.trust.statement import Subject

    found = find(state, path)
    signer = load_signing_key(key, passphrase=_secret(passphrase))
    found.check_manifest()
    present = [item.get("key") for item in found.info.signatures if isinstance(item, dict)]
    if signer.id not in present:
        document = make_signature(Subject.of(found.info), signer)
        state.store.artifacts.update(found.id, VersionUpdate(add_signatures=(document,)))
    if as_json:
        print_json({"path": found.info.path, "digest": found.digest, "key": signer.id})
    else:
        click.echo(f"Signed {found.info.path} ({found.digest}) with {signer.id}.")


@click.command()
@click.argument("path")
@json_option
@click.pass_context
def scan(context: click.Context, path: str, as_json: bool) -> None:
    """Say what the pickles in PATH, a file, directory or version, would import and call. Nothing is run.

    Ends with 1 when something is dangerous or cannot be read to its end.
    """
    from windlass import wire
    from windlass.trust.policy import load_policy
    from windlass.trust.scan import Verdict, scan_path

    state = context.find_object(State)
    assert state is not None
    allow = load_policy(state.settings.home).scan_allow
    if os.path.exists(path):
        report = scan_path(path, allow=allow)
    else:
        from windlass.artifacts.inspect import scan_artifact

        report = scan_artifact(state.engine, find(state, path), allow=allow)
    if as_json:
        print_json(wire.to_plain(report))
    else:
        rows = [
            (item.verdict.value, pickle.place, item.name) for pickle in report.pickles for item in pickle.imports
        ] + [("call", pickle.place, f"{c.function}({c.arguments})") for pickle in report.pickles for c in pickle.calls]
        rows += [(p.verdict.value, p.place, text) for p in report.pickles for text in p.findings]
        table(("", "where", "what"), rows, empty="No pickle imports or calls anything.")
        click.echo(f"{report.verdict.value}: {len(report.pickles)} pickles in {report.files} files of {report.target}")
    if report.verdict in (Verdict.DANGEROUS, Verdict.UNREADABLE):
        context.exit(1)


def _secret(reference: str) -> Secret | None:
    if not reference:
        return None
    from windlass.config.secrets import SecretResolver

    return SecretResolver().resolve(reference)
