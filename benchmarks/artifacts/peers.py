"""Other tools, each when it is installed. A peer gives the commands of one put into a fresh repository."""

import os
import shutil
import subprocess
from collections.abc import Callable

Run = Callable[[list[str], str], None]


def _call(command: list[str], cwd: str) -> None:
    env = {
        **os.environ,
        "RESTIC_PASSWORD": "x",
        "GIT_AUTHOR_NAME": "b",
        "GIT_AUTHOR_EMAIL": "b@b",
        "GIT_COMMITTER_NAME": "b",
        "GIT_COMMITTER_EMAIL": "b@b",
        "DVC_NO_ANALYTICS": "1",
    }
    subprocess.run(command, cwd=cwd, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def prepare(tool: str, work: str) -> None:
    """Make the repository of a tool in an empty folder that holds ``data``."""
    if tool == "restic":
        _call(["restic", "init", "-r", f"{work}/repo", "--no-cache"], work)
    elif tool in ("dvc", "git-lfs"):
        _call(["git", "init", "-q", "."], work)
        if tool == "dvc":
            _call(["dvc", "init", "-q"], work)
        else:
            _call(["git", "lfs", "install", "--local"], work)
            _call(["git", "lfs", "track", "data/**"], work)


def put(tool: str, work: str) -> None:
    """Put ``data`` once more."""
    if tool == "restic":
        _call(["restic", "-r", f"{work}/repo", "--no-cache", "--compression", "off", "backup", "data"], work)
    elif tool == "dvc":
        _call(["dvc", "add", "-q", "data"], work)
    elif tool == "git-lfs":
        _call(["git", "add", "data"], work)
        _call(["git", "commit", "-q", "--allow-empty", "-m", "x"], work)


def installed() -> list[str]:
    """Peers that can be run here."""
    found = [tool for tool in ("restic", "dvc") if shutil.which(tool)]
    return found + (["git-lfs"] if shutil.which("git-lfs") and shutil.which("git") else [])
