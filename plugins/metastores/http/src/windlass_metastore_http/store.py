"""The client of a Windlass server. Its methods are made from the interface's type hints; none is written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from windlass import wire
from windlass.errors import ConflictError, WindlassError
from windlass.metastore import MetadataStore
from windlass.remote import PARTS, Call, calls
from windlass_metastore_http.blobs import HttpBlobStore
from windlass_metastore_http.config import HttpConfig
from windlass_metastore_http.connection import AnswerLost, Connection

if TYPE_CHECKING:
    from windlass.models.access import Principal

LONGEST_POLL = 25.0
"""Seconds of one request to ``queues.wait``; proxies cut longer ones."""


class _Part:
    """One part of the store on the other side."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


def _send(part: _Part, call: Call, arguments: dict[str, Any], *, repeatable: bool = True, extra: float = 0.0) -> Any:
    body = wire.encode(arguments)
    answer = part._connection.call(f"{call.part}/{call.name}", body, repeatable=repeatable, extra=extra)
    return call.decode_result(answer)


def _once(part: _Part, call: Call, arguments: dict[str, Any]) -> Any:
    """Calls that do something more when repeated: a claim, a new key. Their effect fades, or can be looked up."""
    return _send(part, call, arguments, repeatable=False)


def _made(
    find: str, argument: str, name: Callable[[Any], dict[str, Any]]
) -> Callable[[_Part, Call, dict[str, Any]], Any]:
    """Calls that make something with a name of ours: after a lost answer, what is there tells whether it was made."""

    def send(part: _Part, call: Call, arguments: dict[str, Any]) -> Any:
        wanted = arguments[argument]
        try:
            return _send(part, call, arguments, repeatable=False)
        except AnswerLost:
            pass
        try:
            return _send(part, call, arguments)
        except ConflictError:
            found = _send(part, calls()[find], name(wanted))
            if _same(found, wanted):
                return found
            raise

    return send


def _same(found: Any, wanted: Any) -> bool:
    one, other = wire.to_plain(found), wire.to_plain(wanted)
    return all(one[key] == other[key] for key in one if not key.endswith("_at"))


def _release(part: _Part, call: Call, arguments: dict[str, Any]) -> Any:
    try:
        return _send(part, call, arguments, repeatable=False)
    except AnswerLost:
        pass
    try:
        return _send(part, call, arguments)
    except ConflictError:
        lease = arguments["lease"]
        run = _send(part, calls()["runs.get"], {"run_id": lease.run_id})
        if run.fence == lease.fence + 1 and not run.agent:  # it is what our release made of it
            return run
        raise


def _wait(part: _Part, call: Call, arguments: dict[str, Any]) -> bool:
    deadline = time.monotonic() + arguments["timeout"]
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        poll = min(left, LONGEST_POLL)
        if _send(part, call, {**arguments, "timeout": poll}, extra=poll):
            return True


def _take_parts(part: _Part, call: Call, arguments: dict[str, Any]) -> Any:
    return _send(part, call, arguments, repeatable=not arguments["remove"])


_SENDERS: dict[str, Callable[[_Part, Call, dict[str, Any]], Any]] = {
    "runs.create": _made("runs.get", "run", lambda run: {"run_id": run.id}),
    "queues.create": _made("queues.get", "queue", lambda q: {"ref": {"entity": q.entity, "name": q.name}}),
    "queues.update": _once,
    "schedule.create_trigger": _once,
    "schedule.delete_trigger": _once,
    "queues.claim": _once,
    "queues.release": _release,
    "queues.wait": _wait,
    "artifacts.take_parts": _take_parts,
    "artifacts.purge": _once,
    "access.create_user": _once,
    "access.create_key": _once,
}
"""Calls that are not simply sent again when no answer came. All others may be repeated, says the interface."""


def _method(call: Call) -> Callable[..., Any]:
    send = _SENDERS.get(call.key, _send)

    def method(self: _Part, *args: Any, **kwargs: Any) -> Any:
        bound = call.signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        arguments.pop("self", None)
        return send(self, call, arguments)

    update_wrapper(method, call.method, updated=())  # not that it is abstract
    method.__qualname__ = f"Http.{call.key}"
    method.__doc__ = f"Call ``{call.key}`` of the server."
    return method


def _part(name: str, interface: type[Any]) -> type[Any]:
    methods = {call.name: _method(call) for call in calls().values() if call.part == name}
    return type(f"Http{interface.__name__}", (_Part, interface), methods)


_CLASSES = {name: _part(name, interface) for name, interface in PARTS.items()}


class HttpStore(MetadataStore):
    """A Windlass server as a metadata store.

    Args:
        config: Where the server is.
        api_key: API key or run token; empty for a server that needs none.
        patience: See `Connection`.
    """

    def __init__(self, config: HttpConfig, api_key: str = "", *, patience: float | None = None) -> None:
        self._connection = Connection(config, api_key, patience=patience)
        for name, kind in _CLASSES.items():
            setattr(self, name, kind(self._connection))
        self.blobs = HttpBlobStore(self._connection)
        self._self = _Part(self._connection)

    def whoami(self) -> Principal:
        """Whose key or token we hold. Raises `AccessError`."""
        found: Principal = _send(self._self, calls()["store.whoami"], {})
        return found

    def now(self) -> float:
        """The server's clock."""
        return float(_send(self._self, calls()["store.now"], {}))

    def check(self) -> None:
        """Ask the server who we are. Raises `WindlassError` with advice."""
        try:
            self.whoami()
        except WindlassError as error:
            error.where = error.where or self._connection.url
            raise

    def close(self) -> None:
        """Close connections. May be repeated."""
        self.blobs.close()
        self._connection.close()
