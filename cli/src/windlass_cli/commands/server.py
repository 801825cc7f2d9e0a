"""``windlass server``."""

from __future__ import annotations

import click

from windlass_cli.output import note
from windlass_cli.state import State, pass_state


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--anonymous", is_flag=True, help="Callers without a key are administrators; on loopback only.")
@pass_state
def server(state: State, host: str, port: int, anonymous: bool) -> None:
    """Serve the API over HTTP until it is stopped; the store is that of WINDLASS_BASE_URL."""
    from windlass.errors import PluginNotFoundError

    try:
        from windlass_server.serving import first_key, serve
    except ImportError:
        raise PluginNotFoundError("the server is not installed", hint="pip install windlass-server") from None
    state.store.migrate()
    key = None if anonymous else first_key(state.store)
    if key:
        click.echo(f"API key of the administrator, shown only now: {key}")
    serve(
        state.store,
        host=host,
        port=port,
        anonymous=anonymous,
        on_ready=lambda url: note(f"Listening on {url}  (stop it with Ctrl-C)"),
    )
