"""How a process was started. Every run asks that when it begins, so nothing else is loaded here."""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec

__all__ = ["Entry", "entry_of_process"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """How this process was started.

    Attributes:
        folder: Working directory.
        script: Absolute path of the program (a script or a notebook), or empty.
        module: Name after ``python -m``, or empty.
    """

    folder: str
    script: str = ""
    module: str = ""


def entry_of_process() -> Entry:
    """How this process was started. Arguments are left out: people put secrets there."""
    folder = os.getcwd()
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()) is not None:
        return Entry(folder=folder, script=_notebook(shell))
    main = sys.modules.get("__main__")
    found = getattr(main, "__spec__", None)
    if found is not None and found.name:
        return Entry(folder=folder, module=found.name.removesuffix(".__main__"))
    script = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c", "-m") else ""
    path = os.path.abspath(script) if script else ""
    return Entry(folder=folder, script=path if path.endswith(".py") and os.path.isfile(path) else "")


def _notebook(shell: Any) -> str:
    """Path of the notebook that a shell of IPython runs; empty when nobody says it."""
    said = os.environ.get("JPY_SESSION_NAME") or getattr(shell, "user_ns", {}).get("__vsc_ipynb_file__") or ""
    path = os.path.abspath(str(said)) if said else ""
    return path if path.endswith(".ipynb") and os.path.isfile(path) else ""
