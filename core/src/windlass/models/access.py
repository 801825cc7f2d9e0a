"""Who may do what."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from attrs import frozen

from windlass.errors import AccessError, ConflictError, UsageError
from windlass.models import LONGEST


class Role(StrEnum):
    """What a user may do in an entity. Each includes the ones before it.

    Viewers look. Submitters launch, and write artifacts. Owners change queues and serve them, set triggers and budgets,
    and delete: agents are owners. Admins say who has which role.
    """

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    OWNER = "owner"
    ADMIN = "admin"

    def covers(self, other: Role) -> bool:
        """True when this role may do all that `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@frozen(kw_only=True)
class Principal:
    """Who is asking.

    Attributes:
        kind: ``user``, ``service`` or ``run``; ``local`` for a process that has the store's file or database.
        name: User name or run id.
        entity, project, run, attempt: Scope of a run token.
        admin: May do everything on this server.
        expires_at: From when the key that was shown is refused; 0.0 is never.
    """

    kind: str = "local"
    name: str = ""
    entity: str = ""
    project: str = ""
    run: str = ""
    attempt: int = 0
    admin: bool = False
    expires_at: float = 0.0


def last_admin(entity: str, user: str) -> ConflictError:
    """The refusal of a change after which nobody in the entity could give roles any more."""
    return ConflictError(
        f"'{user}' is the only admin of '{entity}'",
        hint=f"Make somebody else admin first: windlass access member set -e {entity} USER admin",
    )


@frozen(kw_only=True)
class ApiKey:
    """An API key as it can be shown: never the key itself.

    Attributes:
        expires_at: From when it is refused; 0.0 is never.
    """

    id: str
    user: str
    description: str = ""
    created_at: float = 0.0
    last_used_at: float = 0.0
    expires_at: float = 0.0


def key_end(now: float, expires_in: float | None, not_after: float = 0.0) -> float:
    """When a key made now expires, `not_after` at the latest. Raises `UsageError` for a time that is none."""
    if expires_in is None:
        return not_after
    if not 0 < expires_in <= LONGEST:
        raise UsageError(
            f"a key cannot expire in {expires_in!r} seconds",
            hint=f"Give a positive number, at most {LONGEST:.0f} (ten years), or none for a key that stays.",
        )
    return min(now + expires_in, not_after or now + LONGEST)


def expired_key(expires_at: float) -> AccessError:
    """The error of a key whose time is over."""
    return AccessError(
        f"this API key expired at {_iso(expires_at)}", hint="Ask for a new one, and sign in: windlass login"
    )


def outliving_key(expires_at: float) -> AccessError:
    """The error of a key that is used to make one that would outlive it."""
    return AccessError(
        f"the key that you signed in with ends at {_iso(expires_at)}, and can make none that outlives it",
        hint="Ask for less time or name none, or sign in with a key that lasts longer.",
        context={"expires_at": expires_at},
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@frozen(kw_only=True)
class NewApiKey:
    """A fresh key. `secret` is shown once and stored only as a hash."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"NewApiKey(key={self.key!r}, secret=***)"


@frozen(kw_only=True)
class User:
    """A person or a service account."""

    name: str
    service: bool = False
    admin: bool = False
    created_at: float = 0.0


@frozen(kw_only=True)
class Member:
    """A user's role in an entity."""

    entity: str
    user: str
    role: Role
