"""Where cloud clients get their tokens: Google's token endpoint and metadata server, Azure's managed identity."""

from __future__ import annotations

import base64
import http.server
import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

__all__ = ["IdentityServer", "google_key_file", "identity_server"]

TENANT = "11111111-1111-1111-1111-111111111111"


class IdentityServer:
    """A server on the loopback interface; a context manager.

    Attributes:
        url: Its address.
        refuse: Answer every request for a token with a refusal.
        requests: ``METHOD path`` of every request.
    """

    def __init__(self) -> None:
        self.refuse = False
        self.requests: list[str] = []
        self.count = itertools.count(1)
        identity = self

        class Handler(_Handler):
            server_of = identity

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> IdentityServer:  # noqa: PYI034 - not meant to be subclassed
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: IdentityServer

    def _answer(self, body: Any, status: int = 200) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address, owner = urlsplit(self.path), self.server_of
        owner.requests.append(f"{self.command} {address.path}")
        number = next(owner.count)
        if "token" in address.path and owner.refuse:
            self._answer({"error": "invalid_grant", "error_description": "the account is disabled"}, 400)
        elif address.path == "/msi/token":
            resource = parse_qs(address.query).get("resource", [""])[0]
            end = str(int(time.time()) + 3600)
            self._answer({"access_token": _jwt(), "expires_on": end, "resource": resource, "token_type": "Bearer"})
        elif address.path.endswith("token"):
            issued = "urn:ietf:params:oauth:token-type:access_token"
            self._answer(
                {"access_token": f"token-{number}", "expires_in": 3600, "token_type": "Bearer",
                 "issued_token_type": issued}
            )  # fmt: skip
        elif address.path.endswith("/project/project-id"):
            self._answer("from-metadata")
        elif "service-accounts" in address.path:
            self._answer({"email": "pod@x.iam.gserviceaccount.com", "scopes": ["a"], "aliases": ["default"]})
        else:
            self._answer("")

    do_GET = do_POST = _serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _jwt() -> str:
    claims = {"tid": TENANT, "oid": "the-object-id", "appid": "the-app", "exp": int(time.time()) + 3600}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "none"}, claims)]
    return b".".join([*parts, b"c2ln"]).decode()


@pytest.fixture
def identity_server() -> Iterator[IdentityServer]:
    """A server of tokens."""
    with IdentityServer() as server:
        yield server


@pytest.fixture
def google_key_file(identity_server: IdentityServer, tmp_path: Path) -> Path:
    """A service account key whose tokens come from the server."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = tmp_path / "key.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "proj",
                "private_key_id": "1",
                "private_key": pem,
                "client_email": "agent@proj.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": f"{identity_server.url}/token",
            }
        )
    )
    return path
