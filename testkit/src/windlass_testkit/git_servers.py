"""A git server over https with passwords, as hosts have it: nginx, git's own http backend, a certificate of its own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from windlass_testkit.servers import Running, free_port, start, stop, wait_for_port
from windlass_testkit.services import program, require

__all__ = ["GIT_PASSWORD", "GIT_USER", "git_https", "https_git_server"]

GIT_USER, GIT_PASSWORD = "reader", "pass-Wd1:of@reader"
"""Who may read."""
_CONFIG = """
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format seen '$http_host $request_uri $http_authorization'; access_log {folder}/access.log seen;
  client_max_body_size 0;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location ~ ^/private(/.*) {{
      auth_basic git; auth_basic_user_file {folder}/passwords; set $repository $1; include {folder}/backend;
    }}
    location ~ ^/public(/.*) {{ set $repository $1; include {folder}/backend; }}
    location ~ ^/moved/(.*) {{ return 302 https://localhost:{port}/public/$1?$query_string; }}
    location / {{ auth_basic other; auth_basic_user_file {folder}/passwords; return 404; }}
  }}
}}
"""
_BACKEND = """
fastcgi_pass unix:{folder}/socket;
fastcgi_param SCRIPT_FILENAME {backend}; fastcgi_param GIT_HTTP_EXPORT_ALL ""; fastcgi_param PATH_INFO $repository;
fastcgi_param GIT_PROJECT_ROOT {folder}/repositories; fastcgi_param REMOTE_USER $remote_user;
fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;
fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;
fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding; fastcgi_param GIT_PROTOCOL $http_git_protocol;
"""


@contextlib.contextmanager
def https_git_server() -> Iterator[Running]:
    """Run the server.

    Yields:
        `folder` is where bare repositories go; ``url`` of `facts` is what stands before their names, ``ca`` the
        certificate to trust, ``log`` a file with host, path and Authorization header of each request, and ``moved`` a
        URL that leads on to another host name, where everybody may read.
    """
    folder, port = Path(tempfile.mkdtemp(prefix="windlass-git-")), free_port()
    pids: list[int] = []
    try:
        folder.chmod(0o755)
        (folder / "repositories").mkdir()
        _certificate(folder)
        digest = base64.b64encode(hashlib.sha1(GIT_PASSWORD.encode()).digest()).decode()
        (folder / "passwords").write_text(f"{GIT_USER}:{{SHA}}{digest}\n")
        exec_path = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True, timeout=30)
        # nginx drops root; its workers must reach the socket, and the backend the repositories.
        user = "user root;" if os.getuid() == 0 else ""
        backend = Path(exec_path.stdout.strip(), "git-http-backend")
        (folder / "conf").write_text(_CONFIG.format(user=user, folder=folder, port=port))
        (folder / "backend").write_text(_BACKEND.format(folder=folder, backend=backend))
        env = {"PATH": os.environ["PATH"], "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
               "GIT_CONFIG_VALUE_0": "*"}  # fmt: skip
        pids.append(start([program("fcgiwrap", "/usr/sbin"), "-c", "4", "-s", f"unix:{folder}/socket"],
                          log=folder / "fcgi.log", env=env))  # fmt: skip
        pids.append(start([program("nginx", "/usr/sbin"), "-p", str(folder), "-c", str(folder / "conf")],
                          log=folder / "nginx.log"))  # fmt: skip
        wait_for_port(port, pid=pids[-1], log=folder / "nginx.log")
        yield Running(
            pid=pids[-1],
            folder=str(folder / "repositories"),
            facts={
                "url": f"https://127.0.0.1:{port}/private", "moved": f"https://127.0.0.1:{port}/moved",
                "ca": str(folder / "cert.pem"), "log": str(folder / "access.log"),
            },
        )  # fmt: skip
    finally:
        for pid in pids:
            stop(pid)
        shutil.rmtree(folder, ignore_errors=True)


def _certificate(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"), "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip


@pytest.fixture
def git_https(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """The server of `https_git_server`, whose certificate git trusts."""
    require("nginx", "fcgiwrap", "git")
    with https_git_server() as running:
        monkeypatch.setenv("GIT_SSL_CAINFO", running.facts["ca"])
        yield running
