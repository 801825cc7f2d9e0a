"""Notebooks as programs: ``python -m windlass.launch.notebook train.ipynb [ARGUMENT…]`` runs the code cells in order.

Nothing of Jupyter is needed. Lines for the shell (``!pip install …``), magics (``%matplotlib inline``) and help
(``name?``) are left out; of cells that begin with a magic, those are run that only time or capture what is below it.
"""

from __future__ import annotations

import ast
import builtins
import json
import linecache
import os
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from windlass.errors import ConfigError

__all__ = ["code_cells", "notebook_command", "run_notebook"]

_MODULE = "windlass.launch.notebook"
_LEFT_OUT = re.compile(r"(?m)^([ \t]*)(?:[!%].*|\?.*|.*[\w\])]\?{1,2})[ \t]*$")
_AROUND = re.compile(r"%%(?:time|timeit|capture|prun)\b.*(?:\n|$)")


def notebook_command(path: str) -> tuple[str, ...]:
    """The command that runs a notebook; empty if the path is none."""
    return ("python", "-m", _MODULE, path) if path.endswith(".ipynb") else ()


def code_cells(text: str, where: str) -> Iterator[tuple[int, str]]:
    """Number (from 1) and Python code of the code cells of a notebook.

    Raises:
        ConfigError: It is no notebook.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not well-formed JSON: {error}", where=where, hint="Save the notebook again.") from None
    cells = document.get("cells") if isinstance(document, dict) else None
    if not isinstance(cells, list):
        raise ConfigError("this is no notebook of format 4", where=where, hint="jupyter nbconvert --to notebook")
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        yield number, _python(source if isinstance(source, str) else "".join(map(str, source)))


def _python(source: str) -> str:
    if source.startswith("%%"):
        around = _AROUND.match(source)
        if around is None:
            return ""
        source = "\n" + source[around.end() :]
    try:
        ast.parse(source)
    except SyntaxError:
        return _LEFT_OUT.sub(r"\1pass", source)
    return source


def run_notebook(path: Path) -> None:
    """Run the code cells as the program ``__main__``, in the working directory. Ends as that program does."""
    import asyncio  # slow to import, and others need this module for its names

    program = types.ModuleType("__main__")
    program.__file__ = str(path)
    program.__dict__.update(__builtins__=builtins, display=print)
    sys.modules["__main__"] = program
    sys.path[:1] = [os.path.dirname(os.path.abspath(path))]
    with asyncio.Runner() as runner:
        for number, source in code_cells(path.read_text(encoding="utf-8-sig"), str(path)):
            name = f"{path}[{number}]"
            linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
            code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            waiting: Any = types.FunctionType(code, program.__dict__)()
            if waiting is not None:
                runner.run(waiting)


def main() -> None:
    """The program."""
    del sys.argv[0]
    if not sys.argv:
        raise SystemExit("usage: python -m windlass.launch.notebook NOTEBOOK [ARGUMENT…]")
    path = Path(sys.argv[0])
    if not path.is_file():
        raise SystemExit(f"error: there is no file {path}")
    try:
        run_notebook(path)
    except ConfigError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
