"""``run.summary``: the outcome of a run, one value a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from windlass.sdk.values import to_json

if TYPE_CHECKING:
    from windlass.metastore import RunStore

__all__ = ["Summary", "SummaryRule"]

RULES = ("last", "min", "max", "mean", "first", "none")


class SummaryRule:
    """How a metric is summed up: ``last`` (default), ``min``, ``max``, ``mean``, ``first`` or ``none``."""

    __slots__ = ("count", "kind", "total")

    def __init__(self, kind: str = "last") -> None:
        self.kind = kind
        self.count = 0
        self.total = 0.0

    def go_on(self, store: RunStore, run_id: str, name: str) -> None:
        """Count what an earlier process has logged: a mean does not tell of how many values it is one."""
        step, count, total = -1, 0, 0.0
        while rows := store.metrics(run_id, step):
            step = rows[-1].step
            for row in rows:
                value = row.values.get(name)
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    count, total = count + 1, total + value
        self.count, self.total = count, total

    def next(self, old: Any, new: Any) -> Any:
        """The summary value after `new` was logged."""
        if self.kind == "last" or isinstance(new, bool) or not isinstance(new, (int, float)):
            return new
        before = old.get(self.kind) if isinstance(old, Mapping) else None
        self.count += 1
        self.total += new
        if self.kind == "mean":
            return {"mean": self.total / self.count}
        if before is None:
            return {self.kind: new}
        if self.kind == "first":
            return {"first": before}
        return {self.kind: min(before, new) if self.kind == "min" else max(before, new)}


class Summary(MutableMapping[str, Any]):
    """A mapping with attribute access whose changes are recorded.

    Args:
        values: What is recorded already.
        changed: Called with the keys that changed.
    """

    _values: dict[str, Any]
    _changed: Callable[[dict[str, Any]], None]

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        changed: Callable[[dict[str, Any]], None] = lambda _changes: None,
    ) -> None:
        object.__setattr__(self, "_values", dict(values or {}))
        object.__setattr__(self, "_changed", changed)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self._changed({key: None})

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"the summary has no key '{name}'") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy holds the values and records nothing."""
        return type(self), (dict(self._values),)

    def __repr__(self) -> str:
        return repr(self._values)

    def update(self, values: Any = (), **more: Any) -> None:  # type: ignore[override]
        """Set several keys. Raises `UsageError` when a value is no JSON."""
        given = to_json({**dict(values), **more}, "summary")
        self._values.update(given)
        if given:
            self._changed(given)

    def republish(self) -> None:
        """Report all values again: nested mappings may have been changed in place."""
        given = to_json(self._values, "summary")
        if given:
            self._changed(given)
