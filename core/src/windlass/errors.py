"""Everything Windlass raises on purpose, as one tree.

::

    WindlassError                      code · exit_code · retryable · where · hint
    ├── UsageError                     a call that can never work (bad arguments, names, states)
    ├── ConfigError                    a file or mapping that does not fit its schema
    │   ├── SecretError                a secret reference that cannot be resolved
    │   └── MacroError                 an unknown macro or template variable
    ├── PluginError
    │   ├── PluginNotFoundError        not installed
    │   ├── PluginImportError          installed, but its import failed
    │   ├── PluginInvalidError         imported, but not well formed
    │   ├── PluginConflictError        two distributions offer the same name
    │   └── PluginCrashedError         raised something of its own while working
    ├── UnsupportedError               the backend declares that it cannot do this
    ├── NotFoundError                  no such run, queue, agent, job …
    │   ├── RunNotFoundError
    │   └── ArtifactNotFoundError
    ├── ConflictError                  it exists already, or changed under your hands
    │   └── FencedError                a newer owner has taken over; stop
    ├── AccessError                    not signed in, or not allowed
    ├── BuildError                     an image could not be built
    ├── RegistryError                  a container registry refused or failed
    ├── RunnerError                    a runner could not do what was asked
    │   └── SubmitError                the work was not started
    ├── StorageError                   bytes could not be read or written
    │   ├── ObjectNotFoundError        nothing at that address
    │   ├── ObjectChangedError         not the bytes that were recorded
    │   ├── IntegrityError             a digest does not match
    │   └── NoSpaceError               the disk is full
    ├── SerializationError             an object could not be written or read
    └── StoreError                     the metadata store failed
        └── StoreUnavailableError      busy or out of reach; trying again may help

Rules: `message` says what happened, `where` says where (``file:line`` or ``$.path``), `hint` says what to do
next. `code` is kebab-case, unique and stable. `retryable` is a fact stated by the raiser; what follows from it
is the caller's policy. This module imports nothing of Windlass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar


class WindlassError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        message: What happened, one sentence.
        where: Place of the cause: ``file:line``, ``$.path`` or a name. May be empty.
        hint: What to do next. May be empty.
        context: More facts, all JSON values.
    """

    code: ClassVar[str] = "windlass-error"
    exit_code: ClassVar[int] = 1
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        hint: str = "",
        context: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        self.context: dict[str, Any] = dict(context or {})
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.where, self.hint, self.context, self.retryable))

    def to_dict(self) -> dict[str, Any]:
        """The error as plain JSON (the body of an HTTP problem, of ``--json`` and of a run's reason)."""
        return {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "hint": self.hint,
            "context": self.context,
            "retryable": self.retryable,
        }


def _rebuild(
    kind: type[WindlassError], message: str, where: str, hint: str, context: dict[str, Any], retryable: bool
) -> WindlassError:
    error = kind(message, where=where, hint=hint, context=context, retryable=retryable)
    if isinstance(error, ConfigError):
        error.problems = tuple(
            Problem(*(str(problem.get(name, "")) for name in ("message", "where", "hint")))
            for problem in error.context.get("problems", ())
        )
    return error


class UsageError(WindlassError):
    """A call that can never work: wrong arguments, names or states."""

    code = "usage"
    exit_code = 2


class ConfigError(WindlassError):
    """A configuration that does not fit. Holds every problem of the file, not only the first."""

    code = "config"
    exit_code = 2

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.problems = tuple(problems)
        if self.problems:
            self.context["problems"] = [problem.to_dict() for problem in self.problems]

    def __str__(self) -> str:
        if not self.problems:
            return super().__str__()
        lines = [f"{self.where}: {self.message}" if self.where else self.message]
        lines += [f"  {line}" for problem in self.problems for line in str(problem).splitlines()]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class Problem:
    """One thing wrong in a configuration: what, where, what to do."""

    __slots__ = ("hint", "message", "where")

    def __init__(self, message: str, where: str = "", hint: str = "") -> None:
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def __repr__(self) -> str:
        return f"Problem({str(self)!r})"

    def to_dict(self) -> dict[str, str]:
        """The problem as plain JSON."""
        return {"message": self.message, "where": self.where, "hint": self.hint}


def counted(problems: Sequence[Problem]) -> str:
    """``1 problem``, ``2 problems`` …"""
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"


class SecretError(ConfigError):
    """A secret reference that cannot be resolved. Never holds the secret."""

    code = "secret"


class MacroError(ConfigError):
    """An unknown macro, or a template variable that is missing or out of its bounds."""

    code = "macro"


class PluginError(WindlassError):
    """Something is wrong with a plugin. `context` names its distribution and version."""

    code = "plugin"


class PluginNotFoundError(PluginError):
    """No installed distribution offers this name. Names what is installed and how to install it."""

    code = "plugin-not-found"
    exit_code = 2


class PluginImportError(PluginError):
    """The distribution is installed, but importing its plugin module failed or did not end."""

    code = "plugin-import"


class PluginInvalidError(PluginError):
    """The plugin was imported, but broke the plugin contract (wrong type, wrong name, unknown hook)."""

    code = "plugin-invalid"


class PluginConflictError(PluginError):
    """Two distributions offer the same name. Names both, with versions."""

    code = "plugin-conflict"


class PluginCrashedError(PluginError):
    """A plugin raised something that is not a WindlassError: a bug in it, not in Windlass."""

    code = "plugin-crashed"


class UnsupportedError(WindlassError):
    """The backend declares that it cannot do this."""

    code = "unsupported"
    exit_code = 2


class NotFoundError(WindlassError):
    """There is nothing under that name or id."""

    code = "not-found"


class RunNotFoundError(NotFoundError):
    """There is no run, or no resource of a run, under that id."""

    code = "run-not-found"


class ArtifactNotFoundError(NotFoundError):
    """There is no artifact, version or entry under that name. Lists what is there."""

    code = "artifact-not-found"


class ConflictError(WindlassError):
    """It exists already, or was changed by somebody else meanwhile."""

    code = "conflict"


class FencedError(ConflictError):
    """A newer owner or attempt has taken over. The receiver must stop working on it."""

    code = "fenced"


class AccessError(WindlassError):
    """Not signed in, or not allowed to do this."""

    code = "access"


class BuildError(WindlassError):
    """An image could not be built. The build log is kept with the run."""

    code = "build"


class RegistryError(WindlassError):
    """A container registry refused or failed."""

    code = "registry"


class RunnerError(WindlassError):
    """A runner could not do what was asked."""

    code = "runner"


class SubmitError(RunnerError):
    """The work was not started, and nothing was left behind."""

    code = "submit"


class StorageError(WindlassError):
    """Bytes could not be read or written."""

    code = "storage"


class ObjectNotFoundError(StorageError):
    """There is nothing at that address."""

    code = "object-not-found"


class ObjectChangedError(StorageError):
    """The bytes at that address are not those that were recorded. Names expected and found."""

    code = "object-changed"


class IntegrityError(StorageError):
    """A digest does not match. Names the file, the expected and the computed digest."""

    code = "integrity"


class NoSpaceError(StorageError):
    """The disk is full."""

    code = "no-space"


class SerializationError(WindlassError):
    """An object could not be written or read."""

    code = "serialization"


class StoreError(WindlassError):
    """The metadata store failed."""

    code = "store"


class StoreUnavailableError(StoreError):
    """The metadata store is busy or out of reach. Trying again may help."""

    code = "store-unavailable"
    retryable = True


def all_errors() -> Iterator[type[WindlassError]]:
    """Every error class of the tree, base first (for the docs and for rebuilding errors from the wire)."""
    todo: list[type[WindlassError]] = [WindlassError]
    while todo:
        kind = todo.pop(0)
        yield kind
        todo.extend(kind.__subclasses__())


def from_dict(data: Mapping[str, Any]) -> WindlassError:
    """Rebuild an error from `WindlassError.to_dict`. An unknown code gives a plain `WindlassError`."""
    kinds = {kind.code: kind for kind in all_errors() if kind.__module__ == __name__}
    kind = kinds.get(str(data.get("code")), WindlassError)
    return _rebuild(
        kind,
        str(data.get("message", "")),
        str(data.get("where", "")),
        str(data.get("hint", "")),
        data.get("context") or {},
        bool(data.get("retryable", kind.retryable)),
    )
