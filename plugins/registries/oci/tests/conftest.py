"""Registries with sign-in: htpasswd, and tokens of a service of our own."""

from __future__ import annotations

import base64
import ctypes
import ctypes.util
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from windlass_testkit.servers import free_port, start, stop, wait_for_port
from windlass_testkit.services import program, require


def _registry(folder: Path, auth: str):
    port = free_port()
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\nauth: {auth}\n"
    )
    pid = start([program("docker-registry"), "serve", str(config)], log=folder / "log")
    wait_for_port(port, pid=pid, log=folder / "log")
    return pid, f"127.0.0.1:{port}"


def _bcrypt(password: bytes) -> str:
    """A bcrypt hash by the system's crypt library; the registry takes no other kind."""
    name = ctypes.util.find_library("crypt")
    if not name:
        pytest.skip("no library crypt here")
    crypt = ctypes.CDLL(name).crypt
    crypt.restype = ctypes.c_char_p
    hashed = crypt(password, b"$2b$04$" + b"abcdefghijklmnopqrstuu")
    if not hashed or not hashed.startswith(b"$2b$"):
        pytest.skip("the library crypt knows no bcrypt")
    return str(hashed.decode())


@pytest.fixture(scope="session")
def basic_registry():
    """A registry that wants the user robot with the password pass:word."""
    require("registry")
    folder = Path(tempfile.mkdtemp(prefix="windlass-basic-registry-"))
    hashed = _bcrypt(b"pass:word")
    (folder / "htpasswd").write_text(f"robot:{hashed}\n")
    pid, host = _registry(folder, f"{{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}")
    yield host
    stop(pid)
    shutil.rmtree(folder)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenService:
    """Gives tokens to robot/secret, by GET with basic sign-in and by POST with the refresh token "refresh-me"."""

    issuer = "windlass-test"
    service = "registry"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.host = ""
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
             "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = base64.b64encode(b"robot:secret").decode()
                query = parse_qs(urlsplit(self.path).query)
                self.answer("GET", query, self.headers.get("Authorization") == f"Basic {wanted}")

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.answer("POST", form, form.get("refresh_token") == ["refresh-me"])

            def answer(self, method: str, query: dict[str, list[str]], good: bool) -> None:
                service.calls.append(method)
                scopes = query.get("scope", [])
                body = json.dumps({"token": service.token(*scopes), "expires_in": 300} if good else {}).encode()
                self.send_response(200 if good else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/token"

    def token(self, *scopes: str) -> str:
        cert = (self.folder / "cert.pem").read_text().split("-----")[2].replace("\n", "")
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        head = _b64(json.dumps({"typ": "JWT", "alg": "RS256", "x5c": [cert]}).encode())
        body = _b64(
            json.dumps(
                {"iss": self.issuer, "sub": "robot", "aud": self.service, "exp": now + 300, "nbf": now - 10,
                 "iat": now, "jti": os.urandom(8).hex(), "access": access}
            ).encode()
        )  # fmt: skip
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self.folder / "key.pem")],
            input=f"{head}.{body}".encode(), check=True, capture_output=True, timeout=30,
        )  # fmt: skip
        return f"{head}.{body}.{_b64(signed.stdout)}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture(scope="session")
def token_registry():
    """A registry that sends its clients to a token service. `host` is the registry's."""
    require("registry")
    if not shutil.which("openssl"):
        pytest.skip("no program openssl here")
    folder = Path(tempfile.mkdtemp(prefix="windlass-token-registry-"))
    service = TokenService(folder)
    auth = (
        f"{{token: {{realm: '{service.realm}', service: {service.service}, issuer: {service.issuer}, "
        f"rootcertbundle: {folder}/cert.pem}}}}"
    )
    pid, service.host = _registry(folder, auth)
    yield service
    stop(pid)
    service.close()
    shutil.rmtree(folder)
