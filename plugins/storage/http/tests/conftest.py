from __future__ import annotations

import http.server
import os
import threading
from pathlib import Path

import pytest

from windlass_testkit.servers import Running, free_port, start, stop, wait_for_port
from windlass_testkit.services import program, require


@pytest.fixture
def nginx(tmp_path):
    """Address and folder of an nginx that serves files."""
    require("nginx")
    folder, files, port = tmp_path / "nginx", tmp_path / "nginx" / "files", free_port()
    files.mkdir(parents=True)
    # nginx drops root; its workers must reach pytest's private directories.
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;"
        "events { worker_connections 64; }"
        f"http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;"
        f" fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;"
        f" server {{ listen 127.0.0.1:{port}; root {files};"
        " location /gone { return 410; } location /moved { return 302 /root/a; } } }"
    )
    pid = start([program("nginx", "/usr/sbin"), "-p", str(folder), "-c", str(folder / "conf")], log=folder / "log")
    wait_for_port(port, pid=pid, log=folder / "log")
    yield Running(pid=pid, folder=str(files), facts={"url": f"http://127.0.0.1:{port}"})
    stop(pid)


@pytest.fixture
def serve():
    """Start servers whose answers a function gives: `(method, path, headers) -> (status, headers, body)`."""
    servers = []

    def begin(answer, host="127.0.0.1"):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self):
                seen.append((self.command, self.path, dict(self.headers)))
                status, headers, body = answer(self.command, self.path, self.headers)
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)
                if headers.get("Connection") == "close":
                    self.close_connection = True

            do_GET = do_HEAD = _serve  # noqa: N815

            def log_message(self, *args):
                pass

        seen = []
        server = http.server.ThreadingHTTPServer((host, 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://{host}:{server.server_address[1]}", seen

    yield begin
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def write(folder: str, path: str, data: bytes) -> None:
    """Put a file where the server finds it."""
    file = Path(folder) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
