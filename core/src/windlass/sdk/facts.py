"""Facts about where a run comes from: git commit, Python, host. Finding them never fails a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit, urlunsplit

__all__ = ["git_facts", "system_facts"]

_TIMEOUT = 5.0


def system_facts(*, git: bool = True) -> dict[str, Any]:
    """What is recorded with every run. Arguments are left out: people put secrets there."""
    program = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c", "-m") else ""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "host": platform.node(),
        "os": platform.platform(terse=True),
        "cpu_count": os.cpu_count(),
        "program": os.path.relpath(program) if program and os.path.exists(program) else program,
    }
    if git:
        facts["git"] = git_facts(os.getcwd())
    return {key: value for key, value in facts.items() if value not in ("", None, {})}


def git_facts(folder: str) -> dict[str, Any]:
    """Remote (without credentials), commit and whether there are uncommitted changes; empty outside of a checkout."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    facts: dict[str, Any] = {"commit": commit}
    remote = _git(folder, "remote", "get-url", "origin")
    if remote:
        facts["remote"] = without_credentials(remote)
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    facts["dirty"] = bool(status)
    return facts


def without_credentials(url: str) -> str:
    """A URL without user and password, as far as it has a scheme (``git@host:path`` names no secret)."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    if parts.scheme == "ssh" and parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _git(folder: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments],
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""
