"""BuildKit through the docker program, the one client that opens the session BuildKit wants."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

__all__ = ["build_command", "engine_left", "environment", "find_client"]

_PLACES = ("/usr/bin/docker", "/usr/local/bin/docker", "/opt/homebrew/bin/docker")
_KEPT = ("PATH", "HOME", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "SSH_AUTH_SOCK", "TMPDIR",
         "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")  # fmt: skip

# Only as the last line: "unexpected EOF" and the like are what a step may print, too.
_LAST_WORDS = re.compile(
    r"^(?:ERROR: )?(?:unexpected EOF$|error during connect|Cannot connect to the Docker daemon"
    r"|.*code = Unavailable|.*closing transport|.*error reading from server|.*connection reset by peer$)"
)


def environment(docker_host: str) -> dict[str, str]:
    """The environment of the docker program: what it needs and no more."""
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    host = docker_host or os.environ.get("DOCKER_HOST", "")
    return {**env, **({"DOCKER_HOST": host} if host else {}), "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}


@cache
def find_client(chosen: str = "") -> str:
    """Path of a docker program that can use BuildKit: it has buildx, or is old enough to have it built in.

    Args:
        chosen: The only one to look at, if given.

    Returns:
        Empty if there is none.
    """
    found = [Path(folder) / "docker" for folder in os.get_exec_path()]
    candidates = [chosen] if chosen else dict.fromkeys([*map(str, found), *_PLACES])
    for path in candidates:
        if (shutil.which(path) and _has_buildx(path)) or (shutil.which(path) and _built_in(path)):
            return path
    return ""


def _ask(*command: str) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _has_buildx(path: str) -> bool:
    return _ask(path, "buildx", "version") is not None


def _built_in(path: str) -> bool:
    text = _ask(path, "--version") or ""  # Docker version 20.10.24+dfsg1, build 297e128
    version = text.partition("version ")[2].partition(".")[0]
    return version.isdigit() and 18 < int(version) < 23


def engine_left(output: str) -> bool:
    """Whether the program lost its engine, rather than the build its way: told by the last words of its output."""
    return bool(_LAST_WORDS.search(output.rstrip().rpartition("\n")[2]))


def build_command(
    client: str,
    *,
    context: str,
    dockerfile: str,
    tag: str,
    platform: str,
    build_args: Mapping[str, str],
    labels: Mapping[str, str],
) -> list[str]:
    """The command for one build. Nothing in it is secret, and every value is an argument of its own."""
    command = [client, "build", f"--file={Path(context) / dockerfile}", f"--tag={tag}"]
    command += [f"--platform={platform}"] if platform else []
    command += [f"--build-arg={name}={value}" for name, value in build_args.items()]
    command += [f"--label={name}={value}" for name, value in labels.items()]
    return [*command, "--", context]
