"""What went wrong in a build, read from the end of its log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from windlass.errors import BuildError

if TYPE_CHECKING:
    from windlass.builders import BuildLog

__all__ = ["TailLog", "build_error"]

_KEEP = 64 * 1024
_SHOWN_LINES = 25
_PACKAGES = tuple(
    re.compile(pattern)
    for pattern in (
        r"No matching distribution found for ([^\s(,]+)",
        r"Could not find a version that satisfies the requirement ([^\s(,]+)",
        r"(?:Failed building|Failed to build|Could not build) wheels? for ([A-Za-z0-9_.\-]+)",
        r"Invalid requirement: '([^']+)'",
        r"Because ([A-Za-z0-9_.\-]+)(?:[=<>~!]=?\S+)? was not found",
        r"there is no version of ([A-Za-z0-9_.\-]+\S*)",
        r"depends? on ([A-Za-z0-9_.\-]+==[^\s,]+), we can conclude",
        r"Because ([A-Za-z0-9_.\-]+==\S+) depends on",
        r"Cannot install (.+?) because these package versions have conflicting dependencies",
        r"E: Unable to locate package (\S+)",
    )
)
# What Windlass, or something that it needs, needs, and what the job has pinned: as uv says it, and pip.
_CONFLICTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"depends? on (?P<needs>([\w.\-]+)\S*) and (?P<pin>\2==[^\s,]+), we can conclude(?=[\s\S]*\bwindlass-)",
        r"depends on (?P<needs>[^\n]+?)\r?\n\s*The user requested \(constraint\) (?P<pin>\S+)",
    )
)
_STEPS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^ > \[[^\]]*\] (.+?):?$",
        r"executor failed running \[(.+?)\]: exit code",
        r"process \"(.+?)\" did not complete successfully",
        r"The command '(.+?)' returned a non-zero code",
        r"^(?:COPY|ADD) failed: (.+)$",
        r"failed to compute cache key: (.+)$",
        r"failed to solve: (.+)$",
        r"dockerfile parse error.*?: (.+)$",
    )
)
# BuildKit names the step that looks for the base image; what was wrong stands in the line that ends the build.
_BASE = re.compile(r"^ > \[internal\] load metadata for (\S+?):?$", re.MULTILINE)
_BASE_WHY = (
    re.compile(r"failed to solve with frontend [^\n]*?: failed to create LLB definition: (.+)$", re.MULTILINE),
    re.compile(r"failed to solve: (.+)$", re.MULTILINE),
    re.compile(r"^ > \[internal\] load metadata for [^\n]+\n(?:ERROR: )?(.+)$", re.MULTILINE),
)
_PARSE = re.compile(r"dockerfile parse error(?: on)? line (?P<line>\d+): (?P<what>.+)$", re.MULTILINE)
_NETWORK = re.compile(
    r"TLS handshake timeout|i/o timeout|[Cc]onnection (?:refused|reset)|Temporary failure (?:in name|resolving)"
    r"|Cannot connect to the Docker daemon|NewConnectionError|Read timed out|toomanyrequests|503 Service Unavailable",
)


class TailLog:
    """Hands a build's output on and keeps its end.

    Args:
        log: Where it goes.
    """

    def __init__(self, log: BuildLog) -> None:
        self._log = log
        self._tail = b""

    def write(self, data: bytes) -> None:
        """Take a piece of output."""
        if data:
            self._log.write(data)
            self._tail = (self._tail + data)[-_KEEP:]

    def line(self, text: str) -> None:
        """Take a line of our own."""
        self.write(f"{text}\n".encode())

    @property
    def tail(self) -> str:
        """The end of the output as text."""
        return self._tail.decode(errors="replace")


def build_error(tail: str, detail: str = "") -> BuildError:
    """The error for a failed build: names the package that cannot be installed, else the failing step.

    Args:
        tail: End of the build log.
        detail: What the engine said beside the log.
    """
    text = f"{tail}\n{detail}"
    for pattern in _CONFLICTS:
        if found := list(pattern.finditer(text)):
            return _conflict(found[-1]["pin"], found[-1]["needs"], text)
    package = _first(_PACKAGES, text)
    step = " ".join(_first(_STEPS, text).split())[:300]
    base, wrong = _BASE.search(text), _PARSE.search(text)
    where = f"line {wrong['line']} of the Dockerfile" if wrong and not package else ""
    if package:
        message = f"the package {package} cannot be installed"
    elif base:
        why = _first(_BASE_WHY, text)
        message = (
            f"the base image {base[1].removeprefix('docker.io/library/').removeprefix('docker.io/')} cannot be had"
        )
        message += f": {why[:300]}" if why else ""
    elif wrong:
        message = wrong["what"].strip()[:300]
    elif step:
        message = f"the build step failed: {step}"
    else:
        message = detail.strip().splitlines()[-1][:300] if detail.strip() else "the build failed"
    context = {key: value for key, value in (("package", package), ("step", step)) if value}
    return BuildError(
        message,
        where=where,
        hint=_end(text),
        context=context,
        retryable=bool(_NETWORK.search(text)),
    )


def _conflict(pin: str, needs: str, text: str) -> BuildError:
    package = re.split(r"[=<>~!;\[ ]", pin)[0]
    return BuildError(
        f"the job asks for {pin}, and Windlass, which is installed beside it, needs {needs}",
        hint=f"Let the job's requirements take a version of {package} that fits both, or leave it out of them, and "
        f"launch again. {_end(text)}",
        context={"package": pin, "needs": needs},
        retryable=False,
    )


def _end(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()][-_SHOWN_LINES:]
    return "The build log ends with:\n" + "\n".join(f"    {line[:400]}" for line in lines)


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> str:
    for pattern in patterns:
        if match := pattern.search(text):
            text = str(match.group(1)).strip()
            return text[1:-1] if text[:1] in ("'", '"') and text[:1] == text[-1:] else text.lstrip("'\"")
    return ""
