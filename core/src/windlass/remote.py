"""The metadata store's interface as remote calls, derived from its type hints: shared by the server and its clients.

A method ``m`` of a part ``p`` is ``POST /api/v1/<p>/<m>`` with its arguments as one JSON object and its result as
JSON. Infinity, which JSON cannot write, travels as null.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, cached_property
from importlib import import_module
from math import inf
from typing import Any, get_type_hints

import msgspec

from windlass import metastore, wire

__all__ = ["PARTS", "Call", "calls"]

PARTS: dict[str, type[Any]] = {
    "runs": metastore.RunStore,
    "queues": metastore.QueueStore,
    "agents": metastore.AgentStore,
    "artifacts": metastore.ArtifactStore,
    "access": metastore.AccessStore,
    "schedule": metastore.ScheduleStore,
}
"""Part names and their interfaces."""


_MODELS: dict[str, tuple[str, ...]] = {
    "runs": ("run",),
    "queues": ("queue", "run"),
    "agents": ("queue",),
    "artifacts": ("artifact", "artifact_work", "commit"),
    "access": ("access",),
    "schedule": ("schedule",),
    "store": ("access",),
}
"""Modules of `windlass.models` with the names in the annotations of a part, which `windlass.metastore` does not load.

A client that uses one part makes the classes of that one.
"""


class Call:
    """One remote method. Its types are looked up when it is first called.

    Args:
        part: ``runs``, ``queues``, ``agents``, ``artifacts``, ``access``, ``schedule`` or ``store``.
        name: Method name.
        method: The interface's method.
    """

    def __init__(self, part: str, name: str, method: Callable[..., Any]) -> None:
        self.part = part
        self.name = name
        self.method = method

    @cached_property
    def signature(self) -> inspect.Signature:
        """Signature of the interface's method, ``self`` included."""
        return inspect.signature(self.method)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        modules = [import_module(f"windlass.models.{name}") for name in _MODELS[self.part]]
        return get_type_hints(self.method, localns={k: v for module in modules for k, v in vars(module).items()})

    @cached_property
    def arguments(self) -> type[msgspec.Struct]:
        """A msgspec struct type with the arguments."""
        fields: list[Any] = []
        for parameter in list(self.signature.parameters.values())[1:]:
            default = () if parameter.default is parameter.empty else (parameter.default,)
            fields.append((parameter.name, self._hints[parameter.name], *default))
        return msgspec.defstruct(f"{self.part}_{self.name}", fields, kw_only=True, forbid_unknown_fields=True)

    @cached_property
    def result(self) -> Any:
        """Type of the result."""
        return self._hints["return"]

    @property
    def key(self) -> str:
        """``part.name``."""
        return f"{self.part}.{self.name}"

    def decode_arguments(self, body: bytes) -> dict[str, Any]:
        """The arguments of a request. Raises `ConfigError` that says where they do not fit."""
        found = wire.decode(body or b"{}", self.arguments)
        return {name: getattr(found, name) for name in self.arguments.__struct_fields__}

    def encode_result(self, value: Any) -> bytes:
        """The body of an answer."""
        return wire.encode(value)

    def decode_result(self, body: bytes) -> Any:
        """The result in an answer. Raises `ConfigError`."""
        if self.result is float:
            value = wire.decode(body, float | None)  # type: ignore[arg-type]
            return inf if value is None else value
        return wire.decode(body, self.result)


@cache
def calls() -> dict[str, Call]:
    """All remote methods by ``part.name``."""
    found = [
        Call(part, name, getattr(interface, name))
        for part, interface in PARTS.items()
        for name in sorted(interface.__abstractmethods__)
    ]
    found += [Call("store", name, getattr(metastore.MetadataStore, name)) for name in ("whoami", "now")]
    return {call.key: call for call in found}
