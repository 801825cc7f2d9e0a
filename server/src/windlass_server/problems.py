"""Errors as problem JSON."""

from __future__ import annotations

import logging

from starlette.responses import Response

from windlass import errors, wire

_log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[errors.WindlassError], int], ...] = (
    (errors.AccessError, 403),
    (errors.NotFoundError, 404),
    (errors.ObjectNotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.IntegrityError, 422),
    (errors.UnsupportedError, 501),
    (errors.NoSpaceError, 507),
    (errors.StoreUnavailableError, 503),
    (errors.UsageError, 400),
    (errors.ConfigError, 400),
)


class Unauthenticated(errors.AccessError):
    """No token, or not a good one."""


class TooLarge(errors.UsageError):
    """A request's body is larger than this server takes."""


def status_of(error: errors.WindlassError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, Unauthenticated):
        return 401
    if isinstance(error, TooLarge):
        return 413
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(error: Exception) -> Response:
    """The answer to a request that failed. What is not a `WindlassError` is logged and not shown."""
    if not isinstance(error, errors.WindlassError):
        _log.error("a request failed", exc_info=error)
        error = errors.StoreError(
            "the server failed", hint="Its log says why. Please report it.", context={"type": type(error).__name__}
        )
    status = status_of(error)
    body = {"type": f"urn:windlass:error:{error.code}", "title": error.message, "status": status, **error.to_dict()}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return Response(wire.encode(body), status, headers, media_type="application/problem+json")
