"""What goes wrong, in one message on stderr: what, where, what to do. Never a traceback unless asked for."""

from __future__ import annotations

import errno
import os
import sys
import traceback

import click

from windlass.errors import WindlassError

__all__ = ["report"]


def report(error: Exception, *, command: str, debug: bool) -> int:
    """Print an error and return the exit code that goes with it; `command` is what its help belongs to."""
    if debug:
        traceback.print_exception(error)
    text, code = _describe(error)
    if "hint:" not in text:
        advice = f"see {command} --help" if code == 2 else "run again with WINDLASS_DEBUG=1 for details"
        text += f"\n  hint: {advice}"
    _write(text)
    return code


def _describe(error: Exception) -> tuple[str, int]:
    if isinstance(error, WindlassError):
        return str(error), error.exit_code
    if isinstance(error, click.UsageError):
        return _usage(error), 2
    if isinstance(error, click.ClickException):
        return error.format_message(), 2
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        hint = {
            errno.EACCES: "Check the permissions.",
            errno.ENOSPC: "Free some space and try again.",
            errno.ENOENT: "Check the path.",
        }.get(error.errno, "Run again with WINDLASS_DEBUG=1 for details.")
        return f"{where}{os.strerror(error.errno).lower()}\n  hint: {hint}", 1
    text = f"internal error: {type(error).__name__}: {error}"
    return f"{text}\n  hint: this is a bug; run again with WINDLASS_DEBUG=1 and report what it prints.", 1


def _usage(error: click.UsageError) -> str:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    where = error.ctx.command_path if error.ctx is not None else "windlass"
    return f"{where}: {message}\n  hint: {where} --help"


def _write(text: str) -> None:
    label = "error:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        label = "\x1b[1;31merror:\x1b[0m"
    try:
        sys.stderr.write(f"{label} {text}\n")
        sys.stderr.flush()
    except OSError:
        pass
