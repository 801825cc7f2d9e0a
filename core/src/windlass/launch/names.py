"""Names of jobs and of the artifacts behind them."""

from __future__ import annotations

import re
import unicodedata

from windlass.errors import Problem

__all__ = ["code_name", "default_job_name", "name_problem", "run_name_problem", "sanitise"]

_LIMIT = 128
_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-]")


def sanitise(text: str) -> str:
    """A text as an artifact name: unsafe characters become ``_``, long ones keep their two ends (128 characters)."""
    name = _UNSAFE.sub("_", text)
    if len(name) > _LIMIT:
        half = (_LIMIT - 2) // 2
        name = f"{name[:half]}..{name[-half:]}"
    return name.lstrip(".-") or "_"


def default_job_name(*, remote: str = "", script: str = "", code: str = "", image: str = "") -> str:
    """The name of a job that nobody named, by its source.

    | source | name |
    |---|---|
    | git | ``job-<git-remote-url>-<path-to-script>`` |
    | code artifact | ``job-<code-artifact-name>`` |
    | image | ``job-<image-name>`` (without tag and digest) |
    """
    if remote:
        return sanitise("-".join(filter(None, ("job", remote, script))))
    if code:
        return sanitise(f"job-{code}")
    from windlass.launch.images import parse_image

    return sanitise(f"job-{parse_image(image).name}")


def code_name(text: str) -> str:
    """The name of the code artifact for a job or directory name. Artifacts and jobs share one name space."""
    return sanitise(f"code-{text}")


def name_problem(name: str, where: str) -> Problem | None:
    """What is wrong with a job name that a user chose, or None."""
    if not name or len(name) > _LIMIT:
        return Problem(f"a job name has 1 to {_LIMIT} characters, this has {len(name)}", where=where)
    if _UNSAFE.search(name) or name[0] in ".-":
        hint = f"e.g. {sanitise(name)}"
        return Problem(f"{name!r} has characters other than letters, digits, '_', '.' and '-'", where=where, hint=hint)
    return None


def run_name_problem(name: str, where: str) -> Problem | None:
    """What is wrong with the display name of a run, or None. It may hold anything that is seen on one line."""
    if len(name) > _LIMIT:
        hint = "say more in a config value"
        return Problem(f"a run's name has at most {_LIMIT} characters, this has {len(name)}", where=where, hint=hint)
    if any(unicodedata.category(char) == "Cc" for char in name):
        return Problem(f"{name!r} has control characters", where=where, hint="leave out line breaks and tabs")
    return None
