"""What holds for the tests of all members.

``WINDLASS_TEST_EXAMPLES`` is how many examples hypothesis tries per test (100).
"""

from __future__ import annotations

import os
import signal

import pytest

# A shell that runs the tests in the background has Ctrl-C ignored, which all that they start would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

try:
    from hypothesis import settings
except ImportError:  # a member that is tested alone may do without
    pass
else:
    # How long an example takes says more about the machine than about the code; hangs are caught by pytest-timeout.
    examples = int(os.environ.get("WINDLASS_TEST_EXAMPLES") or 100)
    settings.register_profile("windlass", deadline=None, max_examples=examples)
    settings.load_profile("windlass")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """After Ctrl-C workers end without stopping the servers that they share."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        try:
            from windlass_testkit.servers import stop_shared
        except ImportError:
            return
        stop_shared(session.config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]
