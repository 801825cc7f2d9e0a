"""The command ``windlass``: global options, commands that are imported when called, errors and exit codes."""

from __future__ import annotations

import gc
import itertools
import os
import sys
from typing import Any

import click

from windlass_cli.tree import GROUPS, LazyGroup

__all__ = ["cli", "main"]

_INTERRUPTED = 130
_BROKEN_PIPE = 141


def _version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from windlass import __version__

        click.echo(f"windlass {__version__}")
        context.exit()


@click.group(
    cls=LazyGroup,
    commands_of=GROUPS[""],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="Load plugins from a Python file. May be repeated."
)
@click.option("-v", "--verbose", count=True, help="Say more; twice: show tracebacks and debug messages.")
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version and exit."
)
@click.pass_context
def cli(context: click.Context, plugins: tuple[str, ...], verbose: int) -> None:
    """Package machine-learning code as jobs, queue them, run them anywhere, version everything as artifacts."""
    from windlass_cli.state import State

    context.obj = State(plugins=plugins, verbosity=verbose)
    context.call_on_close(context.obj.close)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and end the process: 0 only when what was asked happened."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started it, a daemon for example: nobody wants to read it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process
    code = run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _BROKEN_PIPE
    if code == _BROKEN_PIPE:
        # Python would complain about the closed pipe once more while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    gc.freeze()  # nothing needs to be told apart any more: Python would search all objects for cycles as it ends
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        result: Any = cli.main(args=arguments, prog_name="windlass", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("Interrupted.")
        return _INTERRUPTED
    except BrokenPipeError:
        return _BROKEN_PIPE
    except SystemExit as error:
        # click ends the process itself when the reader of a pipe has gone, with its own stand-in for stdout.
        return _BROKEN_PIPE if sys.stdout is not sys.__stdout__ else int(error.code or 0)
    except Exception as error:
        from windlass_cli.problems import report

        return report(error, command=_command(arguments), debug=_debug(arguments), as_json=_as_json(arguments))


def _debug(arguments: list[str] | None) -> bool:
    given = sys.argv[1:] if arguments is None else arguments
    leading = list(itertools.takewhile(lambda word: word.startswith("-"), given))
    verbose = sum(word.count("v") for word in leading if word.startswith("-v")) + leading.count("--verbose")
    return verbose >= 2 or bool(os.environ.get("WINDLASS_DEBUG"))


def _as_json(arguments: list[str] | None) -> bool:
    """Whether JSON was asked for, told by the words alone: they may be what is wrong."""
    given = sys.argv[1:] if arguments is None else arguments
    return "--json" in itertools.takewhile(lambda word: word != "--", given)


def _command(arguments: list[str] | None) -> str:
    """The words that name the command, for its help."""
    words = ["windlass"]
    for word in sys.argv[1:] if arguments is None else arguments:
        if word in GROUPS.get(" ".join(words[1:]), {}):
            words.append(word)
    return " ".join(words)


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        pass
