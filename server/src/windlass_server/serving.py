"""``windlass server``: the API in the foreground."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from windlass.errors import UsageError
from windlass.metastore import MetadataStore
from windlass.models.access import Principal, User
from windlass_server.app import Limits, create_app

__all__ = ["first_key", "serve"]

_log = logging.getLogger(__name__)
ADMINISTRATOR = "admin"


def serve(
    store: MetadataStore,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    anonymous: bool = False,
    limits: Limits | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a store until SIGINT or SIGTERM; calls at work are ended first.

    Args:
        store: The store; its schema is brought to this version. The caller closes it.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        anonymous: Callers without an API key are administrators. Only on a loopback address.
        limits: What the server takes.
        on_ready: Called with the server's URL once it listens.

    Raises:
        UsageError: The address cannot be used.
    """
    from windlass_server.running import ForegroundServer, answer_at_once, configuration

    if anonymous and host not in ("127.0.0.1", "::1", "localhost"):
        raise UsageError(
            f"without API keys the server may not listen on {host}", hint="Listen on 127.0.0.1, or use API keys."
        )
    store.migrate()
    store.check()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    answer_at_once(listener)
    try:
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}: {error.strerror or error}", hint="Choose another --host or --port."
            ) from None
        everybody = Principal(kind="local", name="anonymous", admin=True) if anonymous else None
        server = ForegroundServer(configuration(create_app(store, anonymous=everybody, limits=limits), grace=30))
        if on_ready is not None:
            shown = f"[{host}]" if ":" in host else host
            on_ready(f"http://{shown}:{listener.getsockname()[1]}")
        server.run(sockets=[listener])
    finally:
        listener.close()


def first_key(store: MetadataStore) -> str | None:
    """Make an administrator with an API key in a store that has no users; None when it has some."""
    if store.access.users():
        return None
    store.access.create_user(User(name=ADMINISTRATOR, admin=True))
    return store.access.create_key(ADMINISTRATOR, "first key").secret
