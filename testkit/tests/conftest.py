"""Running contract suites against implementations that break one rule."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

# What an inner run is the first to import is forgotten after it, and its classes would then be there twice.
import windlass.plugins.more_types
import windlass.plugins.storage_type  # noqa: F401

Verdict = Callable[[str, str], dict[str, str]]


@pytest.fixture
def verdict(pytester: pytest.Pytester) -> Verdict:
    """``verdict(plugin source, suite source)`` runs the suite; gives the outcome of each test that did not pass."""

    def run(plugin: str, suite: str) -> dict[str, str]:
        pytester.makepyfile(liar=textwrap.dedent(plugin))
        pytester.makepyfile(test_liar=f"LIAR = {str(pytester.path / 'liar.py')!r}\n" + textwrap.dedent(suite))
        options = ("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "--import-mode=importlib")
        record = pytester.inline_run(*options, "test_liar.py")
        outcomes: dict[str, str] = {}
        for report in record.getreports("pytest_runtest_logreport pytest_collectreport"):
            if report.outcome != "passed":
                name = report.nodeid.rpartition("::")[2].partition("[")[0]
                outcomes[name] = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        return outcomes

    return run
