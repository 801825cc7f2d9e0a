"""``run.config``: the inputs of a run. What a launch has set wins over what the code says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from windlass.errors import UsageError
from windlass.models import INTERNAL
from windlass.sdk.values import deep_merge, finite, to_json

__all__ = ["Config", "read_config"]

_log = logging.getLogger("windlass")

"""Key of the recorded config that holds facts about the run's origin; never shown in ``run.config``."""


class Config(MutableMapping[str, Any]):
    """A mapping with attribute access: ``config.lr`` is ``config["lr"]``.

    Values that the launch has set are locked: they are laid over whatever the code assigns.

    Infinity and NaN stay numbers here. JSON does not have them, so that they are recorded as the texts ``"Infinity"``,
    ``"-Infinity"`` and ``"NaN"``, which is also what a resumed run finds.
    """

    _own: dict[str, Any]
    _launch: dict[str, Any]
    _changed: Callable[[dict[str, Any]], None]
    _warned: set[str]

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        launch: Mapping[str, Any] | None = None,
        changed: Callable[[dict[str, Any]], None] = lambda _changes: None,
    ) -> None:
        object.__setattr__(self, "_own", {k: v for k, v in (values or {}).items() if k != INTERNAL})
        object.__setattr__(self, "_launch", {k: v for k, v in (launch or {}).items() if k != INTERNAL})
        object.__setattr__(self, "_changed", changed)
        object.__setattr__(self, "_warned", set())

    def __getitem__(self, key: str) -> Any:
        if key in self._launch:
            return deep_merge(self._own.get(key), self._launch[key])
        return self._own[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        raise UsageError(f"'{key}' cannot be removed", where="run.config", hint="Set it to None instead.")

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from (key for key in self._launch if key not in self._own)

    def __len__(self) -> int:
        return len(self._own.keys() | self._launch.keys())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the config has no key '{name}'; it has: {', '.join(self) or 'none'}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy (for a worker process, say) holds the values and records nothing."""
        return type(self), (self.as_dict(),)

    def __repr__(self) -> str:
        return repr(self.as_dict())

    def update(self, values: Any = (), allow_val_change: bool = True, **more: Any) -> None:  # type: ignore[override]
        """Set several keys.

        Args:
            values: A mapping, a file path, or anything with ``__dict__`` (argparse's namespace).
            allow_val_change: False: changing a key that has another value is an error.
            more: Further keys.

        Raises:
            UsageError: A value is no JSON, or may not change.
        """
        given = to_json({**read_config(values), **more}, "config", keep=True)
        for key, value in given.items():
            if key in self._own and self._own[key] != value and not allow_val_change:
                raise UsageError(
                    f"'{key}' is {self._own[key]!r} already",
                    where="run.config",
                    hint="Pass allow_val_change=True to change it.",
                )
            locked = self._launch.get(key)
            if locked is not None and deep_merge(value, locked) != value and key not in self._warned:
                self._warned.add(key)
                _log.warning("config: '%s' was set by the launch to %r; that value is kept", key, locked)
            self._own[key] = value
        if given:
            self._changed(finite({key: self[key] for key in given}))

    def setdefaults(self, values: Any) -> None:
        """Set those keys that have no value yet."""
        self.update({key: value for key, value in read_config(values).items() if key not in self})

    def as_dict(self) -> dict[str, Any]:
        """A plain copy."""
        return dict(self.items())

    def recorded(self) -> dict[str, Any]:
        """A plain copy as it is recorded."""
        return dict(finite(self.as_dict()))

    def own_dict(self) -> dict[str, Any]:
        """What the code itself has set, without what the launch has laid over it."""
        return dict(self._own)

    def restrict_launch(self, keep: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Drop those values of the launch that the code does not accept as inputs."""
        before = self.as_dict()
        object.__setattr__(self, "_launch", keep(self._launch))
        changed = {key: self.get(key) for key, value in before.items() if self.get(key) != value}
        if changed:
            self._changed(finite(changed))


def read_config(values: Any) -> dict[str, Any]:
    """A config from a mapping, a YAML or JSON file, or a namespace.

    Raises:
        UsageError: It is none of these.
        ConfigError: The file cannot be read.
    """
    if not values:
        return {}
    if isinstance(values, Mapping):
        return dict(values)
    if isinstance(values, str) or hasattr(values, "__fspath__"):
        from windlass.config.document import load

        document = load(values)
        if not isinstance(document.data, dict):
            raise UsageError("the file holds no mapping", where=document.source, hint="Write `key: value` lines.")
        return document.data
    if hasattr(values, "__dict__"):
        return dict(vars(values))
    raise UsageError(f"a config is a mapping, a namespace or a file path, not {type(values).__name__}", where="config")
