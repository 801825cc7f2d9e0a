"""What goes wrong, on stderr: what, where, what to do. Never a traceback unless asked for.

For people it is a message of a few lines, with ``--json`` one line of JSON, the last one on stderr.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Any

import click

from windlass.errors import UsageError, WindlassError

__all__ = ["report", "shape"]

_DETAILS = "run again with WINDLASS_DEBUG=1 for details"


def report(error: Exception, *, command: str, debug: bool, as_json: bool = False) -> int:
    """Print an error and return the exit code that goes with it; `command` is what its help belongs to."""
    if debug:
        traceback.print_exception(error)
    if as_json:
        from windlass_cli.output import json_text

        said, code = shape(error)
        _write(json_text({**said, "hint": said["hint"] or _advice(command, code)}) + "\n")
        return code
    text, code = _describe(error)
    if "hint:" not in text:
        text += f"\n  hint: {_advice(command, code)}"
    label = "error:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        label = "\x1b[1;31merror:\x1b[0m"
    _write(f"{label} {text}\n")
    return code


def shape(error: Exception) -> tuple[dict[str, Any], int]:
    """The JSON of an error, and its exit code. Keys: those of `WindlassError.to_dict`."""
    if isinstance(error, WindlassError):
        return error.to_dict(), error.exit_code
    message, where, hint, code = _parts(error)
    kind = {"code": UsageError.code if code == 2 else "system" if isinstance(error, OSError) else "internal"}
    return {**kind, "message": message, "where": where, "hint": hint, "context": {}, "retryable": False}, code


def _advice(command: str, code: int) -> str:
    return f"see {command} --help" if code == 2 else _DETAILS


def _describe(error: Exception) -> tuple[str, int]:
    if isinstance(error, WindlassError):
        return str(error), error.exit_code
    message, where, hint, code = _parts(error)
    text = f"{where}: {message}" if where else message
    return f"{text}\n  hint: {hint}" if hint else text, code


def _parts(error: Exception) -> tuple[str, str, str, int]:
    """Message, place, advice and exit code of an error that is none of Windlass."""
    if isinstance(error, click.UsageError):
        message = error.format_message().rstrip(".")
        where = error.ctx.command_path if error.ctx is not None else "windlass"
        return message[:1].lower() + message[1:], where, f"{where} --help", 2
    if isinstance(error, click.ClickException):
        return error.format_message(), "", "", 2
    if isinstance(error, OSError) and error.errno is not None:
        hint = {
            errno.EACCES: "Check the permissions.",
            errno.ENOSPC: "Free some space and try again.",
            errno.ENOENT: "Check the path.",
        }.get(error.errno, "Run again with WINDLASS_DEBUG=1 for details.")
        return os.strerror(error.errno).lower(), str(error.filename or ""), hint, 1
    hint = "this is a bug; run again with WINDLASS_DEBUG=1 and report what it prints."
    return f"internal error: {type(error).__name__}: {error}", "", hint, 1


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass
