"""What the docker builder does beyond the contract: generated contexts, pushes, cancelling, wrong configurations."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from windlass.builders import BuildSpec
from windlass.errors import BuildError, ConfigError
from windlass.launch.context import make_context
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Queue
from windlass.models.run import Run
from windlass.plugins.app import App
from windlass_builder_docker.cli import build_command, engine_left, environment, find_client
from windlass_builder_docker.trace import TraceReader
from windlass_testkit.builders import RecordedLog
from windlass_testkit.services import PYTHON_IMAGE


@pytest.fixture
def make():
    made = []

    def create(**config):
        made.append(App().create_builder("docker", config))
        return made[-1]

    yield create
    for builder in made:
        builder.close()


@pytest.fixture
def engine():
    import docker

    client = docker.from_env()
    refs = []
    yield client, refs
    for ref in refs:
        try:
            client.images.remove(ref, force=True)
        except docker.errors.ImageNotFound:
            pass
    client.close()


@pytest.mark.service("python-image")
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the base image has Python 3.11")
def test_a_generated_image_runs_the_code_as_a_user_and_has_windlass(make, engine, tmp_path):
    client, refs = engine
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_text(
        "import os, pathlib, windlass\n"
        "pathlib.Path('written').write_text('x')\n"
        f"print(os.getuid(), windlass.__version__, '{os.urandom(4).hex()}')\n"
    )
    spec = LaunchSpec(
        source=JobSource(kind=SourceKind.CODE, entry_point=("python", "main.py"), base_image=PYTHON_IMAGE),
        job="e/p/j:v0",
    )
    queue = Queue(entity="e", name="q", resource="docker")
    context = make_context(Run(id="r", spec=spec), code, tmp_path / "ctx", queue=queue, cache_dir=tmp_path / "cache")
    log = RecordedLog()
    image = make().build(
        BuildSpec(run_id="r", context=str(context.context), dockerfile=context.dockerfile, name=context.name), log
    )
    refs.append(image.uri)
    assert image.uri.startswith("windlass/j:")
    assert len(image.uri.rpartition(":")[2]) == 64
    output = client.containers.run(image.uri, remove=True).decode()
    assert output.startswith("1000 ")
    import windlass

    assert windlass.__version__ in output


@pytest.mark.service("python-image")
def test_pushes_where_the_destination_says(make, engine, registry_server, tmp_path):
    client, refs = engine
    (tmp_path / "Dockerfile").write_text(f"FROM {PYTHON_IMAGE}\nENV X={os.urandom(4).hex()}\n")
    app = App()
    registry = app.create_registry("oci", {"uri": registry_server, "docker-config": str(tmp_path / "none")})
    destination = f"localhost:{registry_server.rpartition(':')[2]}/team/jobs"
    spec = BuildSpec(run_id="r", context=str(tmp_path), destination=destination, registry=registry)
    log = RecordedLog()
    image = make().build(spec, log)
    refs.append(image.uri)
    assert log.phases == ["building", "pushing"]
    assert registry.resolve(image.uri) == image.digest
    again = make(destination=destination).build(
        BuildSpec(run_id="r2", context=str(tmp_path), registry=registry), RecordedLog()
    )
    assert again.reused
    assert (again.uri, again.digest) == (image.uri, image.digest)
    client.images.remove(image.uri, force=True)
    assert make().build(spec, RecordedLog()).reused, "the registry has it, so nothing is built"
    registry.close()


@pytest.mark.service("python-image")
def test_close_ends_a_running_build(make, tmp_path):
    if not find_client():
        pytest.skip("no docker program that can use BuildKit")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {PYTHON_IMAGE}\nRUN echo {os.urandom(4).hex()}; echo started; sleep 60\n"
    )
    builder, caught, log = make(buildkit="cli"), [], RecordedLog()

    def run():
        try:
            builder.build(BuildSpec(run_id="r", context=str(tmp_path)), log)
        except BuildError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    end = time.monotonic() + 30
    while b"started" not in log.data and time.monotonic() < end:
        time.sleep(0.05)
    builder.close()
    thread.join(20)
    assert not thread.is_alive()
    assert "cancelled" in caught[0].message


@pytest.mark.parametrize(
    ("last", "left"),
    [
        ("unexpected EOF", True),
        ("Cannot connect to the Docker daemon at unix:///x.sock. Is the docker daemon running?", True),
        ("ERROR: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF", True),
        ("SyntaxError: unexpected EOF while parsing", False),
        ("executor failed running [/bin/sh -c x]: exit code: 1", False),
    ],
)
def test_an_engine_that_left(last, left):
    assert engine_left(f"#5 0.2 started\n{last}\n") is left
    assert not engine_left(f"{last}\nexecutor failed running [x]: exit code: 1\n")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"destination": "r.example.com/a:tag"}, "no tag"),
        ({"platform": "windows"}, "does not match"),
        ({"buildkit": "maybe"}, "expected one of"),
        ({"destinaton": "x"}, "did you mean 'destination'"),
    ],
)
def test_config_that_does_not_fit(make, config, message):
    with pytest.raises(ConfigError, match=message):
        make(**config)


def test_the_keys_of_the_documents_are_read(make):
    make(**{"destination": "https://name.azurecr.io/team/repo", "build-context-store": "s3://bucket/path"})
    make(uri="europe-docker.pkg.dev/project/repo/image", platform="linux/arm64")


def test_an_engine_that_is_away(make, tmp_path):
    builder = make(**{"docker-host": f"unix://{tmp_path}/none.sock"})
    with pytest.raises(BuildError) as caught:
        builder.check()
    assert caught.value.retryable


def test_every_value_is_an_argument_of_its_own():
    command = build_command(
        "docker", context="/c", dockerfile="D", tag="t:1", platform="", build_args={"A": "x; rm -rf /"}, labels={}
    )
    assert "--build-arg=A=x; rm -rf /" in command
    assert command[-2:] == ["--", "/c"]


def test_the_program_gets_a_small_environment(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    env = environment("unix:///x.sock")
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert env["DOCKER_HOST"] == "unix:///x.sock"


def test_trace_messages():
    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    vertex = field(1, b"sha256:1") + field(3, b"[1/2] RUN x")
    log = field(1, b"sha256:1") + bytes([3 << 3, 1]) + field(4, b"out\xff\n")
    reader = TraceReader()
    assert list(reader.read(field(1, vertex) + field(3, log))) == [b"[1/2] RUN x\n", b"out\xff\n"]
    failed = vertex + field(7, b"exit code: 1")
    assert b"ERROR: exit code: 1" in b"".join(reader.read(field(1, failed)))
    assert list(reader.read(b"\xff\xff\xff")) == []


def test_a_push_that_broke_off_is_no_refusal():
    from windlass_builder_docker.engine import _push_error

    broken = _push_error("r.example/x:1", "write tcp 127.0.0.1:35512->127.0.0.1:15004: write: broken pipe")
    assert (broken.retryable, "failed" in broken.message, "retries" in broken.hint) == (True, True, True)
    denied = _push_error("r.example/x:1", "denied: requested access to the resource is denied")
    assert (denied.retryable, "refused" in denied.message, "credentials" in denied.hint) == (False, True, True)
