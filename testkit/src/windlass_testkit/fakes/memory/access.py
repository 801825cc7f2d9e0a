"""Users, keys and run tokens in memory. Secrets are kept as hashes, as every store must."""

from __future__ import annotations

import hashlib
import secrets

from attrs import evolve

from windlass.errors import AccessError, ConflictError, FencedError, NotFoundError
from windlass.ids import new_id
from windlass.metastore import AccessStore
from windlass.models.access import ApiKey, Member, NewApiKey, Principal, Role, User, expired_key, key_end, last_admin
from windlass_testkit.fakes.faults import Faults, faulty
from windlass_testkit.fakes.memory.world import Token, World

__all__ = ["MemoryAccess"]


@faulty
class MemoryAccess(AccessStore):
    """See `AccessStore`."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self.faults = faults

    def issue_run_token(self, run_id: str, attempt: int, fence: int) -> str:
        token = f"run-{secrets.token_urlsafe(32)}"
        with self._world.changing():
            run = self._world.guarded(run_id, fence=fence, attempt=attempt)
            if run.state.is_terminal:
                raise FencedError(f"run '{run_id}' is over", context={"run": run_id})
            self._world.tokens[_hash(token)] = Token(run=run_id, attempt=attempt)
        return token

    def authenticate(self, token: str) -> Principal:
        mark = _hash(token)
        with self._world.changing() as now:
            known = self._world.tokens.get(mark)
            if known is not None:
                run = self._world.runs.get(known.run)
                if run is not None and not run.state.is_terminal and run.attempt == known.attempt:
                    return Principal(
                        kind="run",
                        name=run.id,
                        entity=run.entity,
                        project=run.project,
                        run=run.id,
                        attempt=run.attempt,
                    )
            key = self._world.keys.get(mark)
            user = self._world.users.get(key.user) if key is not None else None
            if key is None or user is None:
                raise AccessError("the key or token is not valid, or not any more", hint="Sign in: windlass login")
            if key.expires_at and now >= key.expires_at:
                raise expired_key(key.expires_at)
            self._world.keys[mark] = evolve(key, last_used_at=now)
            kind = "service" if user.service else "user"
            return Principal(kind=kind, name=user.name, admin=user.admin, expires_at=key.expires_at)

    def role(self, principal: Principal, entity: str) -> Role | None:
        if principal.admin or principal.kind == "local":
            return Role.ADMIN
        if principal.kind == "run":
            return None  # its rights are those of its run, not of a member
        with self._world.changing():
            member = self._world.members.get((entity, principal.name))
            return member.role if member is not None else None

    def create_user(self, user: User) -> User:
        with self._world.changing() as now:
            if user.name in self._world.users:
                raise ConflictError(f"there is a user '{user.name}' already")
            self._world.users[user.name] = evolve(user, created_at=user.created_at or now)
            own = Member(entity=user.name, user=user.name, role=Role.ADMIN)
            self._world.members[(user.name, user.name)] = own
            return self._world.users[user.name]

    def users(self) -> tuple[User, ...]:
        with self._world.changing():
            return tuple(sorted(self._world.users.values(), key=lambda user: user.name))

    def create_key(
        self, user: str, description: str = "", expires_in: float | None = None, not_after: float = 0.0
    ) -> NewApiKey:
        secret = f"key-{secrets.token_urlsafe(32)}"
        with self._world.changing() as now:
            self._user(user)
            ends = key_end(now, expires_in, not_after)
            key = ApiKey(id=new_id(), user=user, description=description, created_at=now, expires_at=ends)
            self._world.keys[_hash(secret)] = key
        return NewApiKey(key=key, secret=secret)

    def keys(self, user: str) -> tuple[ApiKey, ...]:
        with self._world.changing():
            return tuple(key for key in self._world.keys.values() if key.user == user)

    def revoke_key(self, key_id: str) -> bool:
        with self._world.changing():
            found = [mark for mark, key in self._world.keys.items() if key.id == key_id]
            for mark in found:
                del self._world.keys[mark]
            return bool(found)

    def set_member(self, member: Member) -> None:
        with self._world.changing():
            self._user(member.user)
            if member.role is not Role.ADMIN:
                self._check_admins(member.entity, member.user)
            self._world.members[(member.entity, member.user)] = member

    def remove_member(self, entity: str, user: str) -> None:
        with self._world.changing():
            self._check_admins(entity, user)
            self._world.members.pop((entity, user), None)

    def members(self, entity: str) -> tuple[Member, ...]:
        with self._world.changing():
            found = (member for member in self._world.members.values() if member.entity == entity)
            return tuple(sorted(found, key=lambda member: member.user))

    def _check_admins(self, entity: str, user: str) -> None:
        found = self._world.members.values()
        if [m.user for m in found if m.entity == entity and m.role is Role.ADMIN] == [user]:
            raise last_admin(entity, user)

    def _user(self, name: str) -> User:
        try:
            return self._world.users[name]
        except KeyError:
            raise NotFoundError(f"there is no user '{name}'") from None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
