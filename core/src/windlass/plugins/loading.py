"""Strangers' code is imported here: within a time limit, and with errors that name the distribution."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar, cast

from windlass.errors import PluginConflictError, PluginImportError
from windlass.plugins.types import PluginInfo

T = TypeVar("T")


def import_timeout() -> float:
    """Seconds a plugin's import may take: ``WINDLASS_PLUGIN_TIMEOUT``, 30 by default."""
    try:
        return float(os.environ.get("WINDLASS_PLUGIN_TIMEOUT", "30"))
    except ValueError:
        return 30.0


def only(infos: Sequence[PluginInfo]) -> PluginInfo:
    """The one that offers a name. Raises `PluginConflictError`, naming both, when two distributions do."""
    if len(infos) > 1:
        offers = " and ".join(f"{i.distribution} {i.version} ({i.target})" for i in infos)
        raise PluginConflictError(
            f"the {infos[0].kind} '{infos[0].name}' is offered twice: by {offers}",
            hint="Uninstall one of them.",
            context={"distributions": [f"{i.distribution} {i.version}" for i in infos]},
        )
    return infos[0]


def offered(kind: str, name: str) -> tuple[PluginInfo, Any] | None:
    """What an entry point of a kind without descriptors (``media``, ``secret``) names; None where nothing offers it.

    Raises:
        PluginConflictError: Two distributions offer it.
        PluginImportError: Its import failed.
    """
    from windlass.plugins.scan import installed_plugins

    infos = [info for info in installed_plugins() if (info.kind, info.name) == (kind, name)]
    if not infos:
        return None
    info = only(infos)
    return info, import_module(info)


class TooSlow(Exception):
    """A stranger's code did not come back."""


def in_time(work: Callable[[], T], name: str) -> T:
    """Do the work of a stranger in a thread, and wait no longer than `import_timeout`.

    What it prints goes to standard error: on standard output may be JSON.

    Raises:
        TooSlow: It did not end. The thread is left behind, and nobody waits for it again while it lasts.
        BaseException: What the work raised, SystemExit included: it must not end the program.
    """
    limit = import_timeout()
    late = _LATE.get(name)
    if late is not None and late.is_alive():
        raise TooSlow(f"did not end within {limit:g} s")
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            with _printing_aside():
                result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(limit)
    if failure:
        raise failure[0]
    if not result:
        _LATE[name] = thread
        raise TooSlow(f"did not end within {limit:g} s")
    return result[0]


_LATE: dict[str, threading.Thread] = {}
_LOCK = threading.Lock()


class _Aside:
    """Standard output for all threads but some, which get standard error."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.threads: set[int] = set()

    def write(self, text: str) -> int:
        aside = threading.get_ident() in self.threads and sys.stderr is not None
        return int((sys.stderr if aside else self.stream).write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _printing_aside() -> Iterator[None]:
    if sys.stdout is None:  # closed: what is printed goes nowhere anyway
        yield
        return
    me = threading.get_ident()
    with _LOCK:
        if not isinstance(sys.stdout, _Aside):
            sys.stdout = _Aside(sys.stdout)
        output = sys.stdout
        output.threads.add(me)
    try:
        yield
    finally:
        with _LOCK:
            output.threads.discard(me)
            if not output.threads and cast("Any", sys.stdout) is output:
                sys.stdout = output.stream


def import_module(info: PluginInfo) -> Any:
    """Import the module of an entry point, or what it names in one, within a time limit.

    Raises:
        PluginImportError: The import raised, exited, or did not end in time.
    """

    def work() -> Any:
        module_name, _, attribute = info.target.partition(":")
        module: Any = importlib.import_module(module_name)
        for part in filter(None, attribute.split(".")):
            module = getattr(module, part)
        return module

    facts = {"distribution": info.distribution, "version": info.version, "target": info.target}
    try:
        return in_time(work, f"import {info.target}")
    except TooSlow as error:
        raise PluginImportError(
            f"importing the {info} {error}",
            hint=f"This is a problem of {info.distribution}; uninstall it, or set WINDLASS_PLUGIN_TIMEOUT.",
            context=facts,
        ) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginImportError(
            f"importing the {info} failed: {type(error).__name__}: {error}", hint=_advice(error, info), context=facts
        ) from error


def _advice(error: BaseException, info: PluginInfo) -> str:
    if not isinstance(error, ImportError):
        return f"This is a problem of {info.distribution}; report it there, or uninstall it."
    missing = error.name or ""
    if missing.partition(".")[0] == "windlass":
        return other_version(info)
    reinstall = f"Reinstall it: pip install --force-reinstall {info.distribution}"
    return f"The module '{missing}' is missing. {reinstall}" if isinstance(error, ModuleNotFoundError) else reinstall


def other_version(info: PluginInfo) -> str:
    """What to do about a plugin that uses what this version of Windlass has not."""
    from windlass import __version__

    return (
        f"It may be made for another version of Windlass than {__version__}: "
        f"pip install --upgrade windlass-core {info.distribution}, or report it there."
    )


def load_file(path: str) -> ModuleType:
    """Import a Python file that is not packaged (``--plugin ./my_runner.py``).

    Raises:
        PluginImportError: The file is missing, or its import failed.
    """
    full = os.path.abspath(path)
    name = "windlass_local_" + os.path.splitext(os.path.basename(full))[0].replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None or not os.path.isfile(full):
        raise PluginImportError(f"there is no Python file at {path}", where=path, hint="Give the path of a .py file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = ""
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == full:
                line = f":{trace.tb_lineno}"
            trace = trace.tb_next
        raise PluginImportError(
            f"importing it failed: {type(error).__name__}: {error}", where=f"{path}{line}", hint="Correct the file."
        ) from error
    return module
