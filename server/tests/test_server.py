"""The server as a server: errors, limits, health, going away and coming back, the local API."""

import contextlib
import http.client
import json
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from windlass.errors import AccessError, NoSpaceError, StoreUnavailableError, UsageError
from windlass.metastore import MetadataStore
from windlass.models.access import Principal
from windlass.models.run import Run, RunUpdate
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_server import LocalApi, create_app, first_key, serve
from windlass_server.app import Limits
from windlass_server.running import BackgroundServer

EVERYBODY = Principal(admin=True)
Serve = Callable[..., str]
Connect = Callable[..., MetadataStore]


def post(url: str, body: bytes, key: str = "") -> tuple[int, dict[str, object]]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("runs/get", b'{"run_id": "nope"}', 404, "run-not-found"),
        ("runs/get", b"{}", 400, "config"),
        ("runs/get", b'{"run_id": 5}', 400, "config"),
        ("runs/get", b'{"run_id": "x", "unknown": 1}', 400, "config"),
        ("runs/get", b"not json", 400, "config"),
        ("runs/create", b'{"run": {"id": "../../x"}}', 400, "usage"),
        ("runs/unknown", b"{}", 404, "not-found"),
        ("blobs/missing", b'{"digests": 3}', 400, "config"),
    ],
)
def test_errors_are_problem_documents(serve: Serve, path: str, body: bytes, status: int, code: str) -> None:
    answered, problem = post(f"{serve(anonymous=EVERYBODY)}/api/v1/{path}", body)
    assert (answered, problem["code"], problem["status"]) == (status, code, status)
    assert problem["message"]


def test_without_a_key_nothing_but_health(serve: Serve) -> None:
    url = serve()
    assert post(f"{url}/api/v1/store/now", b"{}")[0] == 401
    assert post(f"{url}/api/v1/store/now", b"{}", "wlk_guess")[0] == 401
    with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
        assert json.loads(answer.read())["status"] == "ok"


def test_large_requests_are_refused(serve: Serve, connect: Connect) -> None:
    url = serve(anonymous=EVERYBODY, limits=Limits(body=1000, blob=5000))
    assert post(f"{url}/api/v1/runs/get", b" " * 2000)[0] == 413
    with pytest.raises(UsageError, match="5000"):
        connect(url).blobs.put("blake3:" + "0" * 64, bytes(6000))


def announced(url: str, size: int, key: str = "") -> socket.socket:
    """A request whose body was announced and does not come."""
    address = urllib.parse.urlsplit(url)
    client = socket.create_connection((address.hostname, address.port), timeout=5)
    head = f"POST /api/v1/store/now HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
    client.sendall(head.encode() + (f"Authorization: Bearer {key}\r\n" if key else "").encode() + b"\r\n")
    return client


def test_who_is_unknown_cannot_fill_the_memory(serve: Serve) -> None:
    with announced(serve(), 1 << 20, "wlk_guess") as client:
        assert client.recv(100).startswith(b"HTTP/1.1 401")


def test_a_client_that_goes_away_is_no_failure(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    url = serve(anonymous=EVERYBODY)
    announced(url, 1 << 20).close()
    for _ in range(20):
        connect(url).now()
        time.sleep(0.01)
    assert "a request failed" not in caplog.text


def test_the_first_key_is_made_once(store: MetadataStore, serve: Serve, connect: Connect) -> None:
    key = first_key(store)
    assert key
    assert first_key(store) is None
    url = serve()
    assert connect(url, key).whoami().admin
    with pytest.raises(AccessError):
        connect(url, "wlk_wrong").check()


def test_a_server_that_is_gone_for_a_while_is_survived(store: MetadataStore, connect: Connect) -> None:
    def start(port: int) -> tuple[BackgroundServer, int]:
        listener = socket.create_server(("127.0.0.1", port))
        server = BackgroundServer(create_app(store, anonymous=EVERYBODY), listener)
        server.start()
        return server, listener.getsockname()[1]

    server, port = start(0)
    client = connect(f"http://127.0.0.1:{port}", retry_seconds=20.0)
    client.runs.create(Run(id="r"))
    server.stop()
    back: list[BackgroundServer] = []
    timer = threading.Timer(1.5, lambda: back.append(start(port)[0]))
    timer.start()
    began = time.monotonic()
    client.runs.update("r", RunUpdate(summary={"a": 1}))
    assert time.monotonic() - began > 1.0
    timer.join()
    back[0].stop()
    impatient = connect(f"http://127.0.0.1:{port}", retry_seconds=0.3)
    with pytest.raises(StoreUnavailableError):
        impatient.runs.get("r")


def test_a_server_that_never_answered_is_given_up_soon_and_not_in_silence(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    from windlass_metastore_http.config import HttpConfig
    from windlass_metastore_http.store import HttpStore

    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    store = HttpStore(HttpConfig(url=url), patience=0.4)
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"refused.*\(tried for 0.4 s\)"):
        store.whoami()
    assert time.monotonic() - began < 20, "not the minute that one is given which has answered before"
    (said,) = caplog.messages
    assert "refused; trying again for up to 0.4 s" in said, "once, however often it tries"
    store.close()
    caplog.clear()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        store = HttpStore(HttpConfig(url=url, timeout=3.0), patience=0.0)
        with pytest.raises(StoreUnavailableError):
            store.whoami()
        assert caplog.messages == [f"no answer from {url} yet, still waiting"]
        store.close()
    known = HttpStore(HttpConfig(url=serve(anonymous=EVERYBODY), retry_seconds=0.2), patience=0.0)
    known.whoami()
    assert known._connection._answered
    known.close()


def test_a_lost_answer_does_not_make_a_conflict(serve: Serve, connect: Connect) -> None:
    """A proxy cuts the connection after the request was done; the client finds out that it was."""
    target = serve(anonymous=EVERYBODY)
    port = int(target.rpartition(":")[2])
    proxy = socket.create_server(("127.0.0.1", 0))
    cut = [True]

    def forward() -> None:
        while True:
            try:
                incoming, _ = proxy.accept()
            except OSError:
                return
            with incoming, socket.create_connection(("127.0.0.1", port)) as outgoing:
                incoming.settimeout(5)
                outgoing.settimeout(5)
                request = incoming.recv(65536)
                head, _, body = request.partition(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
                )
                while len(body) < length:
                    piece = incoming.recv(65536)
                    request, body = request + piece, body + piece
                outgoing.sendall(request.replace(b"keep-alive", b"close"))
                answer = b""
                while piece := outgoing.recv(65536):
                    answer += piece
                if not cut.pop() if cut else True:
                    incoming.sendall(answer)

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    client = connect(f"http://127.0.0.1:{proxy.getsockname()[1]}")
    created = client.runs.create(Run(id="r", name="n"))
    assert (created.id, created.name) == ("r", "n")
    proxy.shutdown(socket.SHUT_RDWR)
    proxy.close()
    thread.join(5)


def test_errors_keep_their_class_on_the_way(store: MetadataStore, serve: Serve, connect: Connect,
                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def full(**_: object) -> None:
        raise NoSpaceError("the disk is full", where="/data", hint="Make room.")

    client = connect(serve(anonymous=EVERYBODY))
    monkeypatch.setattr(store.runs, "delete", full)
    with pytest.raises(NoSpaceError) as caught:
        client.runs.delete("r")
    assert (caught.value.where, caught.value.hint) == ("/data", "Make room.")


def test_serving_in_the_foreground_ends_on_a_signal(settings: Settings) -> None:
    script = (
        "import sys; from windlass.plugins.app import App; from windlass_server import serve\n"
        "store = App().open_store()\n"
        "serve(store, port=0, anonymous=True, on_ready=lambda url: print(url, flush=True))\n"
        "store.close(); print('ended')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={"WINDLASS_HOME": str(settings.home), "PATH": "/usr/bin:/bin"},
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    deadline = time.monotonic() + 10
    while True:
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert "ended" in out


def test_answers_do_not_wait_for_confirmations(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted, original = [], socket.socket.accept
    monkeypatch.setattr(socket.socket, "accept", lambda listener: accepted.append(original(listener)) or accepted[-1])
    client = http.client.HTTPConnection(serve(anonymous=EVERYBODY).removeprefix("http://"), timeout=10)
    with contextlib.closing(client):  # it stays open until the server's end of it was looked at
        client.request("GET", "/healthz")
        client.getresponse().read()
        assert [pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for pair in accepted] == [1]


def test_no_keys_means_no_other_hosts(store: MetadataStore) -> None:
    with pytest.raises(UsageError, match=r"0\.0\.0\.0"):
        serve(store, host="0.0.0.0", anonymous=True)


# -- the local API ----------------------------------------------------------------------------------------------------


def test_the_local_api_serves_jobs(store: MetadataStore, app: App, settings: Settings, connect: Connect) -> None:
    store.runs.create(Run(id="r", entity="e", project="p"))
    token = store.access.issue_run_token("r", 1, 0)
    with LocalApi(store, app, settings.home) as api:
        assert api.serving
        assert stat.S_IMODE(api.directory.stat().st_mode) == 0o711
        assert stat.S_IMODE((api.directory / "api.sock").stat().st_mode) == 0o666
        job = connect(api.url, token)
        assert job.runs.update("r", RunUpdate(summary={"a": 1})).summary == {"a": 1}
        with pytest.raises(AccessError):
            connect(api.url).whoami()
    assert not api.serving


OTHER_AGENT = """
import sys, time
from pathlib import Path
from windlass.plugins.app import App
from windlass_server.local import LocalApi

app = App()
store = app.open_store()
api = LocalApi(store, app, app.settings.home)
api.start()
print(api.serving, flush=True)
time.sleep(60)
"""


def test_another_agent_takes_over_when_the_first_dies(
    store: MetadataStore, app: App, settings: Settings, connect: Connect, tmp_path: Path
) -> None:
    store.runs.create(Run(id="r", entity="e", project="p"))
    token = store.access.issue_run_token("r", 1, 0)
    first = subprocess.Popen(
        [sys.executable, "-c", OTHER_AGENT],
        stdout=subprocess.PIPE,
        text=True,
        env={"WINDLASS_HOME": str(settings.home), "PATH": "/usr/bin:/bin"},
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "True\n"
    with LocalApi(store, app, settings.home) as second:
        assert not second.serving
        job = connect(second.url, token, retry_seconds=5.0)
        assert job.runs.get("r").id == "r"
        first.kill()
        first.communicate()
        began = time.monotonic()
        assert job.runs.update("r", RunUpdate(summary={"still": "here"})).summary == {"still": "here"}
        assert time.monotonic() - began < 4.5
        assert second.serving
