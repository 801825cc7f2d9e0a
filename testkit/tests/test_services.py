"""A missing service is a visible skip here and a failure in CI; servers start once and end with the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from windlass_testkit import servers, services

pytest_plugins = ["pytester"]

OPTIONS = ("-p", "no:randomly", "-p", "no:cacheprovider", "-rs", "--strict-markers")

SUITE = """
import pytest
from windlass_testkit.services import add_service, require

add_service("teapot", lambda: "it is empty")
add_service("kettle", lambda: "")

@pytest.mark.service("kettle")
def test_there(): pass

@pytest.mark.service("kettle", "teapot")
def test_missing(): assert False

def test_by_call():
    require("teapot")
    assert False

@pytest.mark.service("teapto")
def test_unknown(): pass
"""


@pytest.mark.parametrize(
    ("wanted", "outcome"),
    [("", {"skipped": 2, "errors": 1}), ("teapot", {"failed": 1, "errors": 2}), ("all", {"failed": 1, "errors": 2})],
)
def test_missing_service(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, wanted: str, outcome: dict[str, int]
) -> None:
    monkeypatch.setenv("WINDLASS_TEST_REQUIRE", wanted)
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess(*OPTIONS)
    result.assert_outcomes(passed=1, **outcome)
    result.stdout.fnmatch_lines(["*it is empty*"])
    result.stdout.fnmatch_lines(["*unknown service 'teapto'; known: *kettle*"])


@pytest.mark.parametrize("module", ["windlass_testkit.services", "windlass_testkit.servers"])
def test_naming_the_plugin_once_more_is_fine(pytester: pytest.Pytester, module: str) -> None:
    pytester.makepyfile("def test(): pass")
    pytester.runpytest_subprocess(*OPTIONS, "-p", module).assert_outcomes(passed=1)


def test_one_server_for_all_workers(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, sys, pathlib, pytest
        from windlass_testkit.servers import Running, shared, start

        @pytest.fixture(scope="session")
        def server(tmp_path_factory):
            def begin():
                with open("started", "a") as file:
                    file.write("x")
                return Running(pid=start(["sleep", "300"], log=pathlib.Path("log")))
            with shared(tmp_path_factory, "sleeper", begin) as running:
                yield running

        @pytest.mark.parametrize("n", range(8))
        def test(server, n):
            os.kill(server.pid, 0)
            pathlib.Path(f"pid-{server.pid}").touch()
        """
    )
    pytester.runpytest_subprocess(*OPTIONS, "-n", "2").assert_outcomes(passed=8)
    (pid,) = [int(path.name.partition("-")[2]) for path in Path(pytester.path).glob("pid-*")]
    assert Path(pytester.path, "started").read_text() == "x"
    assert not servers.alive(pid), "the last user stops it"


def test_stop_ends_a_group_that_ignores_it(tmp_path: Path) -> None:
    pid = servers.start(["sh", "-c", "trap '' TERM; sleep 300"], log=tmp_path / "log")
    servers.stop(pid, grace=0.2)
    assert not servers.alive(pid)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    pid = servers.start(["sh", "-c", "echo no license; exit 3"], log=log)
    with pytest.raises(RuntimeError, match="no license"):
        servers.wait_for_port(servers.free_port(), pid=pid, log=log, timeout=20)


@pytest.mark.service("postgresql")
def test_databases_are_apart(postgresql_url: str, postgresql_server: servers.Running) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgresql_url) as connection:
        tables = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
    assert tables == (0,)
    assert f":{postgresql_server.facts['port']}/" in postgresql_url


def test_probes_never_raise() -> None:
    for name in services.SERVICES:
        assert isinstance(services.missing(name), str)
