"""mypy over every member, each package by name: they are installed, so that is what users get, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def packages() -> list[str]:
    """Import names of all members that have code."""
    members = ("*", "plugins/*/*", "integrations/*")
    return sorted(path.parent.name for member in members for path in ROOT.glob(f"{member}/src/*/py.typed"))


def main() -> int:
    """Run mypy and return its exit code."""
    names = packages()
    arguments = [part for name in names for part in ("-p", name)]
    return subprocess.run([sys.executable, "-m", "mypy", *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
