"""Sign-in, docker's configuration and what else the oci registry takes care of."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from windlass.errors import ConfigError, RegistryError, SecretError
from windlass.plugins.app import App
from windlass_registry_oci.docker_config import from_docker_config
from windlass_testkit.registries import basic, put_image
from windlass_testkit.servers import free_port, start, stop, wait_for_port
from windlass_testkit.services import program, require


@pytest.fixture
def make(tmp_path):
    made = []

    def create(**config):
        config.setdefault("docker-config", str(tmp_path / "none.json"))
        made.append(App().create_registry("oci", config))
        return made[-1]

    yield create
    for registry in made:
        registry.close()


def _docker_config(folder, data):
    path = folder / "config.json"
    path.write_text(json.dumps(data))
    return str(path)


def test_wrong_password_is_said(make, basic_registry, monkeypatch):
    monkeypatch.setenv("OCI_TEST_PASSWORD", "wrong")
    registry = make(uri=basic_registry, username="robot", password="env/OCI_TEST_PASSWORD")
    with pytest.raises(RegistryError, match="refused the credentials of 'robot'") as caught:
        registry.resolve(f"{basic_registry}/some/image:1")
    assert not caught.value.retryable
    assert "wrong" not in str(caught.value)
    with pytest.raises(RegistryError):
        registry.check()


def test_missing_credentials_are_said(make, token_registry):
    with pytest.raises(RegistryError, match="wants credentials"):
        make().resolve(f"{token_registry.host}/some/image:1")


def test_docker_config_gives_credentials(make, basic_registry, tmp_path):
    auth = base64.b64encode(b"robot:pass:word").decode()
    path = _docker_config(tmp_path, {"auths": {basic_registry: {"auth": auth}}})
    registry = make(**{"docker-config": path})
    name = f"config/{os.urandom(4).hex()}"
    digest = put_image(basic_registry, name, "1", authorization=basic("robot", "pass:word"))
    assert registry.resolve(f"{basic_registry}/{name}:1") == digest
    found = registry.credentials(f"{basic_registry}/{name}:1")
    assert (found.username, found.password) == ("robot", "pass:word")
    assert registry.credentials("elsewhere.example.com/x:1").username == ""


def test_tokens_are_kept(make, token_registry, monkeypatch):
    monkeypatch.setenv("OCI_TEST_PASSWORD", "secret")
    registry = make(uri=token_registry.host, username="robot", password="env/OCI_TEST_PASSWORD")
    name = f"kept/{os.urandom(4).hex()}"
    token_registry.calls.clear()
    for _ in range(3):
        assert registry.resolve(f"{token_registry.host}/{name}:1") is None
    assert token_registry.calls == ["GET"]


def test_identity_token_is_exchanged(make, token_registry, tmp_path):
    path = _docker_config(tmp_path, {"auths": {token_registry.host: {"identitytoken": "refresh-me"}}})
    token_registry.calls.clear()
    assert make(**{"docker-config": path}).resolve(f"{token_registry.host}/a/b:1") is None
    assert token_registry.calls == ["POST"]


def test_credential_helper(tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-mine"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"u-$host\\", \\"Secret\\": \\"s\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = _docker_config(tmp_path, {"credHelpers": {"r.example.com": "mine"}})
    assert from_docker_config("r.example.com", path).username == "u-r.example.com"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"auths": {"r.example.com": {"auth": "!!!"}}}, "damaged"),
        ({"credHelpers": {"r.example.com": "../evil"}}, "no name of a credential helper"),
        ({"credHelpers": {"r.example.com": "-evil"}}, "no name of a credential helper"),
        ({"credHelpers": {"r.example.com": "surely-not-there"}}, "is not installed"),
    ],
)
def test_damaged_docker_config(tmp_path, data, message):
    with pytest.raises(RegistryError, match=message):
        from_docker_config("r.example.com", _docker_config(tmp_path, data))


def test_docker_config_that_is_no_json(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RegistryError, match="cannot be read"):
        from_docker_config("r.example.com", str(tmp_path / "config.json"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"username": "u", "password": "env/X"}, "credentials need the registry"),
        ({"uri": "r.example.com", "username": "u"}, "belong together"),
        ({"uri": "r.example.com/UPPER"}, "registry.uri"),
        ({"uri": "r.example.com", "timeout": 0}, "at least"),
    ],
)
def test_config_that_does_not_fit(make, config, message):
    with pytest.raises(ConfigError, match=message):
        make(**config)


def test_unset_secret_names_its_place(make, monkeypatch):
    monkeypatch.delenv("OCI_TEST_UNSET", raising=False)
    with pytest.raises(SecretError, match=r"\$\.password"):
        make(uri="r.example.com", username="u", password="env/OCI_TEST_UNSET")


@pytest.fixture
def stub():
    """An HTTP server whose answers a test chooses: a list of (status, headers)."""
    answers: list[tuple[int, dict[str, str]]] = []
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            seen.append(dict(self.headers))
            status, headers = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", answers, seen
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_faults_that_pass_are_tried_again(make, stub):
    host, answers, _ = stub
    digest = f"sha256:{'a' * 64}"
    answers += [(503, {}), (200, {"Docker-Content-Digest": digest})]
    assert make().resolve(f"{host}/x:1") == digest


def test_lasting_fault_is_retryable(make, stub):
    host, answers, _ = stub
    answers += [(503, {})]
    with pytest.raises(RegistryError, match="503") as caught:
        make().resolve(f"{host}/x:1")
    assert caught.value.retryable


def test_password_is_not_sent_to_an_unsafe_realm(make, stub, monkeypatch):
    host, answers, seen = stub
    monkeypatch.setenv("OCI_TEST_PASSWORD", "secret")
    answers += [(401, {"WWW-Authenticate": 'Bearer realm="http://192.0.2.1/token",service="x"'})]
    registry = make(uri=host, username="robot", password="env/OCI_TEST_PASSWORD")
    with pytest.raises(RegistryError, match="not safe"):
        registry.resolve(f"{host}/x:1")
    assert all("Authorization" not in headers for headers in seen)


def test_digest_that_is_none(make, stub):
    host, answers, _ = stub
    answers += [(200, {"Docker-Content-Digest": "md5:1"})]
    with pytest.raises(RegistryError, match="no digest"):
        make().resolve(f"{host}/x:1")


def test_tls_is_required_off_loopback(make):
    with pytest.raises(RegistryError, match="insecure"):
        make(timeout=0.5).resolve("192.0.2.1:5000/x:1")


def test_a_certificate_that_nobody_knows(make, tmp_path):
    """A registry with TLS is not asked again without it, where it could only say 400."""
    require("registry")
    (tmp_path / "data").mkdir()
    port = free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert"), "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    config = tmp_path / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}, tls: {{certificate: {tmp_path}/cert, key: {tmp_path}/key}}}}\n"
    )
    pid = start([program("docker-registry"), "serve", str(config)], log=tmp_path / "log")
    try:
        wait_for_port(port, pid=pid, log=tmp_path / "log")
        with pytest.raises(RegistryError, match="not trusted") as caught:
            make().resolve(f"localhost:{port}/x:1")
        assert "ca-file" in caught.value.hint
        assert not caught.value.retryable
        assert make(**{"ca-file": f"{tmp_path}/cert"}).resolve(f"localhost:{port}/x:1") is None
        with pytest.raises(RegistryError, match=f"{tmp_path}/none"):
            make(**{"ca-file": f"{tmp_path}/none"})
    finally:
        stop(pid)
