"""The metadata store's interface as remote calls, derived from its type hints: shared by the server and its clients.

A method ``m`` of a part ``p`` is ``POST /api/v1/<p>/<m>`` with its arguments as one JSON object and its result as
JSON. Infinity, which JSON cannot write, travels as null.
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from math import inf
from typing import Any, get_type_hints

import msgspec
from attrs import frozen

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


@frozen(kw_only=True)
class Call:
    """One remote method.

    Attributes:
        part: ``runs``, ``queues``, ``agents``, ``artifacts``, ``access``, ``schedule`` or ``store``.
        name: Method name.
        signature: Signature of the interface's method, ``self`` included.
        arguments: A msgspec struct type with the arguments.
        result: Type of the result.
    """

    part: str
    name: str
    signature: inspect.Signature
    arguments: type[msgspec.Struct]
    result: Any

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
        _call(part, name, getattr(interface, name))
        for part, interface in PARTS.items()
        for name in sorted(interface.__abstractmethods__)
    ]
    found += [_call("store", name, getattr(metastore.MetadataStore, name)) for name in ("whoami", "now")]
    return {call.key: call for call in found}


@cache
def _models() -> dict[str, Any]:
    """The names in the interfaces' annotations, which `windlass.metastore` does not load itself."""
    modules = (
        "models.access",
        "models.artifact",
        "models.artifact_work",
        "models.queue",
        "models.run",
        "models.schedule",
    )
    return {name: value for module in modules for name, value in vars(import_module(f"windlass.{module}")).items()}


def _call(part: str, name: str, method: Any) -> Call:
    hints = get_type_hints(method, localns=_models())
    signature = inspect.signature(method)
    fields: list[Any] = []
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.default is parameter.empty:
            fields.append((parameter.name, hints[parameter.name]))
        else:
            fields.append((parameter.name, hints[parameter.name], parameter.default))
    arguments = msgspec.defstruct(f"{part}_{name}", fields, kw_only=True, forbid_unknown_fields=True)
    return Call(part=part, name=name, signature=signature, arguments=arguments, result=hints["return"])
