"""Options of the HTTP metadata store."""

from __future__ import annotations

from attrs import frozen

from windlass.config.options import option


@frozen(kw_only=True)
class HttpConfig:
    """Where the server is, and how patient to be with it."""

    url: str = option(help="https://HOST, http://HOST:PORT or unix:///PATH/OF/SOCKET.")
    timeout: float = option(help="Seconds to wait for an answer.", default=60.0, minimum=0)
    retry_seconds: float = option(
        help="Seconds during which a server that does not answer is asked again.", default=60.0, minimum=0
    )
