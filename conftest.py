"""What holds for the tests of all members."""

from __future__ import annotations

try:
    from hypothesis import settings
except ImportError:  # a member that is tested alone may do without
    pass
else:
    # How long an example takes says more about the machine than about the code; hangs are caught by pytest-timeout.
    settings.register_profile("windlass", deadline=None)
    settings.load_profile("windlass")
