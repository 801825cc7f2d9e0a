"""What holds for the tests of all members.

``WINDLASS_TEST_EXAMPLES`` is how many examples hypothesis tries per test (100).
"""

from __future__ import annotations

import os

try:
    from hypothesis import settings
except ImportError:  # a member that is tested alone may do without
    pass
else:
    # How long an example takes says more about the machine than about the code; hangs are caught by pytest-timeout.
    examples = int(os.environ.get("WINDLASS_TEST_EXAMPLES") or 100)
    settings.register_profile("windlass", deadline=None, max_examples=examples)
    settings.load_profile("windlass")
