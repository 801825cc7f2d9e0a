"""``windlass store blobs``: where bytes are kept."""

from __future__ import annotations

import click

from windlass_cli.options import json_option
from windlass_cli.output import note, print_json, size
from windlass_cli.state import State, pass_state


@click.command()
@click.argument("uri", default="")
@click.option("--copy", is_flag=True, help="Copy the blobs that there are. Stop agents and servers before.")
@json_option
@pass_state
def blobs(state: State, uri: str, copy: bool, as_json: bool) -> None:
    """Show where the bytes of artifacts are kept, or keep them at URI (s3://bucket/folder, gs://…, az://…, a path).

    The database records the URI, so all clients agree. How to reach it (endpoint, region …) is said in
    WINDLASS_HOME/storage.yaml of each host that opens the database; clients of a server need nothing.
    """
    from windlass.artifacts.moving import MoveReport, move_blobs
    from windlass.errors import UnsupportedError
    from windlass.metastore import BlobPlace

    place = state.store
    if not isinstance(place, BlobPlace):
        raise UnsupportedError(
            "a server does not tell where it keeps its blobs",
            where="store blobs",
            hint="Run it on the server's host, with the WINDLASS_BASE_URL of its database.",
        )
    if uri:
        report = move_blobs(state.app, place, uri, copy=copy, progress=note)
    else:
        root = place.blob_root()
        report = MoveReport(before=root, root=root)
    if as_json:
        facts = {"root": report.root, "before": report.before}
        print_json(facts | {"copied_blobs": report.copied_blobs, "copied_bytes": report.copied_bytes})
        return
    click.echo(report.root)
    if report.copied_blobs:
        note(f"Copied {report.copied_blobs} blobs, {size(report.copied_bytes)}. {report.before} is not used any more.")
