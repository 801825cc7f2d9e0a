"""Liars: each breaks one rule, and the suite must fail at the test meant for it and nowhere else."""

from __future__ import annotations

import pytest

from .conftest import Verdict

pytest_plugins = ["pytester"]

RUNNER = """
from windlass.errors import *
from windlass.models.run import RunHandle
from windlass.plugins import RunnerPlugin, hookimpl
from windlass.runners import RunnerCapabilities
from windlass_testkit.fakes.runner import *
from windlass_testkit.fakes.runner import cluster_named
from attrs import evolve
{extra}

class Liar(FakeRunner):
{body}

@hookimpl
def windlass_runners():
    yield RunnerPlugin(
        name="liar", summary={summary!r}, config={config}, resource_args=FakeResourceArgs,
        create=lambda config, context: Liar(cluster_named(str(context.settings.home)), name="liar"),
        capabilities=RunnerCapabilities(needs_image=False, host_bound=True),
    )
"""

RUNNER_SUITE = """
import pytest
from windlass_testkit.fakes.runner import cluster_named
from windlass_testkit.runners import RunnerContract

class TestLiar(RunnerContract):
    name = "liar"
    plugin_files = (LIAR,)
    time_limit = 3.0

    @pytest.fixture
    def leftovers(self, settings):
        return lambda attempt: [a for a in cluster_named(str(settings.home)).attempts if a == attempt]

    @pytest.fixture
    def destroy(self, settings):
        return lambda handle: cluster_named(str(settings.home)).remove(handle.id)
"""


def runner(body: str = "pass", *, extra: str = "", summary: str = "Lies.", config: str = "FakeRunnerConfig") -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return RUNNER.format(body=lines, extra=extra, summary=summary, config=config)


RUNNER_LIARS = {
    "test_find": """
def find(self, attempt_id):
    known = self.cluster.attempts.get(attempt_id)
    return None if known is None or known.over.is_set() else super().find(attempt_id)
""",
    "test_nothing_is_started_too_late": """
def submit(self, spec):
    return super().submit(evolve(spec, not_after=float("inf")))
""",
    "test_killed_by_a_signal": """
def poll(self, handles):
    answer = super().poll(handles)
    return {h: evolve(s, exit_code=s.exit_code % 128 if s.exit_code else s.exit_code) for h, s in answer.items()}
""",
    "test_any_bytes_survive": """
def logs(self, handle, since=""):
    return (line for line in super(Liar, self).logs(handle, since) if line.stream == "stdout")
""",
    "test_cursor_goes_on_without_gap_or_repeat": """
def logs(self, handle, since=""):
    return super().logs(handle, str(max(int(since) - 1, 0)) if since else "")
""",
    "test_logs_of_a_stranger": """
def logs(self, handle, since=""):
    return super().logs(handle, since) if handle.id in self.cluster.attempts else iter(())
""",
    "test_stop_of_a_stranger": """
def stop(self, handle, grace):
    if handle.id not in self.cluster.attempts:
        raise RunNotFoundError("who?")
    super().stop(handle, grace)
""",
    "test_stop_right_after_submit": """
seen = set()
def poll(self, handles):
    self.seen.update(handle.id for handle in handles)
    return super().poll(handles)
def logs(self, handle, since=""):
    self.seen.add(handle.id)
    return super().logs(handle, since)
def stop(self, handle, grace):
    if handle.id in self.seen or handle.id not in self.cluster.attempts:
        super().stop(handle, grace)
""",
    "test_stop_kills_what_ignores_sigterm": """
def stop(self, handle, grace):
    super().stop(handle, 60.0)
""",
    "test_cleanup_leaves_nothing": """
def cleanup(self, handle):
    if handle.id not in self.cluster.attempts:
        raise RunNotFoundError("who?")
    super().cleanup(handle)
""",
    "test_secrets_reach_the_job_and_nobody_else": """
def submit(self, spec):
    return evolve(super().submit(spec), data={"env": dict(spec.secret_env)})
""",
    "test_close_lets_it_run": """
def close(self):
    for attempt in list(self.cluster.attempts.values()):
        attempt.over.is_set() or attempt.signal(9)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("test", RUNNER_LIARS)
def test_runner_liar(verdict: Verdict, test: str) -> None:
    assert verdict(runner(RUNNER_LIARS[test]), RUNNER_SUITE) == {test: "failed"}


def test_an_honest_runner_passes(verdict: Verdict) -> None:
    assert verdict(runner(), RUNNER_SUITE) == {}


# -- the descriptor, and the suite itself: tried on a suite that holds nothing but the common tests -------------------

BASE_SUITE = """
import pytest
from windlass_testkit.base import Contract

class TestLiar(Contract):
    kind = "runner"
    name = "liar"
    plugin_files = (LIAR,)
"""

CONFIG = "from attrs import frozen\nfrom windlass.config import option\n"

DESCRIPTOR_LIARS = {
    "test_summary_is_one_line": runner(summary="Two\nlines."),
    "test_every_config_key_has_help": runner(
        extra=CONFIG + "@frozen(kw_only=True)\nclass Bad:\n    x: int = option(default=0, help='')", config="Bad"
    ),
    "test_plugin_module_is_short": runner(extra="\n" * 150),
    "test_describing_is_light": runner(extra="import pytest"),
    "test_config_has_a_json_schema": runner(
        extra=CONFIG
        + "from typing import Any\n@frozen(kw_only=True)\nclass Bad:\n    x: Any = option(default={1, 2}, help='Set.')",
        config="Bad",
    ),
}


@pytest.mark.parametrize("test", DESCRIPTOR_LIARS)
def test_descriptor_liar(verdict: Verdict, test: str) -> None:
    assert verdict(DESCRIPTOR_LIARS[test], BASE_SUITE) == {test: "failed"}


@pytest.mark.parametrize(
    "tampering",
    [
        "    test_summary_is_one_line = None",
        "    def test_summary_is_one_line(self): pass",
        "    @pytest.mark.skip(reason='slow')\n    def test_summary_is_one_line(self): pass",
        "    @pytest.mark.xfail\n    def test_summary_is_one_line(self): assert False",
        "    @pytest.mark.xfail(reason=' ')\n    def test_summary_is_one_line(self): assert False",
        "    @staticmethod\n    def test_summary_is_one_line(): pass",
        "    @property\n    def test_summary_is_one_line(self): return None",
    ],
)
def test_a_test_cannot_be_dropped(verdict: Verdict, tampering: str) -> None:
    outcomes = verdict(runner(), BASE_SUITE + tampering)
    assert outcomes.pop("test_contract_is_intact") == "failed"
    assert set(outcomes) <= {"test_summary_is_one_line"}
    assert outcomes.get("test_summary_is_one_line") in (None, "skipped", "xfailed")


def test_what_is_known_to_be_broken_is_written_down(verdict: Verdict) -> None:
    override = """
    @pytest.mark.xfail(reason="two lines are wanted here", strict=True)
    def test_summary_is_one_line(self, descriptor):
        super().test_summary_is_one_line(descriptor)
"""
    assert verdict(runner(summary="Two\nlines."), BASE_SUITE + override) == {"test_summary_is_one_line": "xfailed"}


def test_the_guard_itself_cannot_be_replaced(verdict: Verdict) -> None:
    outcomes = verdict(runner(), BASE_SUITE + "    def test_contract_is_intact(self): pass")
    assert list(outcomes.values()) == ["failed"]


def test_marking_a_contract_from_outside_is_seen(verdict: Verdict) -> None:
    tampering = """
class Other(Contract):
    kind = "runner"

@pytest.fixture(autouse=True)
def hide(monkeypatch):
    marked = Contract.test_summary_is_one_line
    monkeypatch.setattr(marked, "pytestmark", [pytest.mark.skip.mark], raising=False)
"""
    assert verdict(runner(), BASE_SUITE + tampering).get("test_contract_is_intact") == "failed"
