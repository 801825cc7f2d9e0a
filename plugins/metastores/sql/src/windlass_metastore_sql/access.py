"""Users, keys, roles and run tokens."""

from __future__ import annotations

import hashlib
import secrets
from itertools import count

from windlass import ids
from windlass.artifacts.names import check_project
from windlass.errors import AccessError, ConflictError, FencedError, NotFoundError
from windlass.metastore import AccessStore
from windlass.models.access import ApiKey, Member, NewApiKey, Principal, Role, User, expired_key, key_end, last_admin
from windlass.models.run import TERMINAL_STATES, RunState
from windlass_metastore_sql.database import Database, Tx, marks
from windlass_metastore_sql.rows import Mapper
from windlass_metastore_sql.run_table import get_run
from windlass_metastore_sql.runs import check_holder

USERS = Mapper(User)
KEYS = Mapper(ApiKey)
RUN_TOKEN, API_KEY = "wlr_", "wlk_"
_USED_EVERY = 60.0
_SWEEP_EVERY = 100


class SqlAccess(AccessStore):
    """Access in SQL. Keys and tokens are 256 random bits; only their SHA-256 is stored."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._issued = count()

    def issue_run_token(self, run_id: str, attempt: int, fence: int) -> str:
        """See `AccessStore.issue_run_token`."""
        token = RUN_TOKEN + secrets.token_urlsafe(32)
        with self._db.write(durable=False) as tx:  # it is worth no more than the claim, which is not durable either
            run = get_run(tx, run_id, lock=True)
            check_holder(run, fence, attempt)
            if run.state.is_terminal:
                raise FencedError(f"run '{run_id}' is over ({run.state}); it gets no token")
            tx.run("INSERT INTO run_tokens (hash, run_id, attempt) VALUES (?, ?, ?)", _hash(token), run_id, attempt)
            if tx.locks and next(self._issued) % _SWEEP_EVERY == 0:
                sweep_tokens(tx)
        return token

    def authenticate(self, token: str) -> Principal:
        """See `AccessStore.authenticate`."""
        with self._db.read() as tx:
            if token.startswith(RUN_TOKEN):
                return _run_principal(tx, token)
            row = tx.row(
                "SELECT api_keys.id, last_used_at, expires_at, users.name, users.service, users.admin "
                'FROM api_keys JOIN users ON users.name = api_keys."user" WHERE api_keys.hash = ?',
                _hash(token),
            )
        if row is None:
            raise AccessError("this API key is not known here", hint="It may be revoked. Sign in: windlass login")
        key_id, used, expires, name, service, admin = row
        now = self._db.now()
        if expires and now >= expires:
            raise expired_key(expires)
        if now - used > _USED_EVERY:
            with self._db.write(durable=False) as tx:
                tx.run("UPDATE api_keys SET last_used_at = ? WHERE id = ?", now, key_id)
        return Principal(kind="service" if service else "user", name=name, admin=bool(admin), expires_at=expires)

    def role(self, principal: Principal, entity: str) -> Role | None:
        """See `AccessStore.role`."""
        if principal.admin or principal.kind == "local":
            return Role.ADMIN
        if principal.kind == "run":
            return None  # a token is good for one run, which is not a role
        with self._db.read() as tx:
            row = tx.row('SELECT role FROM members WHERE entity = ? AND "user" = ?', entity, principal.name)
        return Role(row[0]) if row else None

    def create_user(self, user: User) -> User:
        """See `AccessStore.create_user`. Raises `ConflictError` when the name, or an entity of it, is taken."""
        check_project(user.name, what="user")
        now = self._db.now()
        user = User(name=user.name, service=user.service, admin=user.admin, created_at=now)
        with self._db.write() as tx:
            count = tx.run(
                f"INSERT INTO users ({USERS.columns}) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
                *USERS.dump(user),
            )
            if not count or tx.row("SELECT 1 FROM members WHERE entity = ?", user.name):
                raise ConflictError(f"there is a user or entity '{user.name}' already", hint="Choose another name.")
            _set_role(tx, Member(entity=user.name, user=user.name, role=Role.ADMIN))
        return user

    def users(self) -> tuple[User, ...]:
        """See `AccessStore.users`."""
        with self._db.read() as tx:
            return tuple(USERS.load(row) for row in tx.rows(f"SELECT {USERS.columns} FROM users ORDER BY name"))

    def create_key(
        self, user: str, description: str = "", expires_in: float | None = None, not_after: float = 0.0
    ) -> NewApiKey:
        """See `AccessStore.create_key`."""
        secret = API_KEY + secrets.token_urlsafe(32)
        now = self._db.now()
        ends = key_end(now, expires_in, not_after)
        key = ApiKey(id=ids.new_id(), user=user, description=description, created_at=now, expires_at=ends)
        with self._db.write() as tx:
            _check_user(tx, user)
            tx.run(
                f"INSERT INTO api_keys ({KEYS.columns}, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
                *KEYS.dump(key),
                _hash(secret),
            )
        return NewApiKey(key=key, secret=secret)

    def keys(self, user: str) -> tuple[ApiKey, ...]:
        """See `AccessStore.keys`."""
        sql = f'SELECT {KEYS.columns} FROM api_keys WHERE "user" = ? ORDER BY created_at, id'
        with self._db.read() as tx:
            return tuple(KEYS.load(row) for row in tx.rows(sql, user))

    def revoke_key(self, key_id: str) -> bool:
        """See `AccessStore.revoke_key`."""
        with self._db.write() as tx:
            return tx.row("DELETE FROM api_keys WHERE id = ? RETURNING id", key_id) is not None

    def set_member(self, member: Member) -> None:
        """See `AccessStore.set_member`."""
        with self._db.write() as tx:
            _check_user(tx, member.user)
            if member.role is not Role.ADMIN:
                _check_admins(tx, member.entity, member.user)
            _set_role(tx, member)

    def remove_member(self, entity: str, user: str) -> None:
        """See `AccessStore.remove_member`."""
        with self._db.write() as tx:
            _check_admins(tx, entity, user)
            tx.run('DELETE FROM members WHERE entity = ? AND "user" = ?', entity, user)

    def members(self, entity: str) -> tuple[Member, ...]:
        """See `AccessStore.members`."""
        with self._db.read() as tx:
            rows = tx.rows('SELECT "user", role FROM members WHERE entity = ? ORDER BY "user"', entity)
        return tuple(Member(entity=entity, user=user, role=Role(role)) for user, role in rows)


def _hash(token: str) -> str:
    # The secret is random and long: a plain hash cannot be searched, and looking it up stays one index step.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def sweep_tokens(tx: Tx) -> None:
    """Delete the tokens of runs that are over: they are void, and the short end of a run leaves them."""
    tx.run(
        "DELETE FROM run_tokens WHERE hash IN (SELECT hash FROM run_tokens WHERE NOT EXISTS "
        f"(SELECT 1 FROM runs WHERE runs.id = run_tokens.run_id AND runs.state NOT IN ({marks(len(TERMINAL_STATES))})) "
        "{skip})",
        *TERMINAL_STATES,
    )


def _run_principal(tx: Tx, token: str) -> Principal:
    row = tx.row(
        "SELECT runs.id, runs.entity, runs.project, runs.state, runs.attempt, run_tokens.attempt "
        "FROM run_tokens JOIN runs ON runs.id = run_tokens.run_id WHERE run_tokens.hash = ?",
        _hash(token),
    )
    if row is None or RunState(row[3]).is_terminal or row[4] != row[5]:
        raise AccessError(
            "this run token is not good any more", hint="Its run is over, or a newer attempt has taken its place."
        )
    run_id, entity, project, _, attempt, _ = row
    return Principal(kind="run", name=run_id, entity=entity, project=project, run=run_id, attempt=attempt)


def _check_user(tx: Tx, name: str) -> None:
    if not tx.row("SELECT 1 FROM users WHERE name = ?", name):
        raise NotFoundError(f"there is no user '{name}'", hint="Create the user first.")


def _check_admins(tx: Tx, entity: str, user: str) -> None:
    """Raise unless there is an admin beside the user, or he is none."""
    rows = tx.rows('SELECT "user" FROM members WHERE entity = ? AND role = ? {lock}', entity, Role.ADMIN.value)
    if [name for (name,) in rows] == [user]:
        raise last_admin(entity, user)


def _set_role(tx: Tx, member: Member) -> None:
    tx.run(
        'INSERT INTO members (entity, "user", role) VALUES (?, ?, ?) '
        'ON CONFLICT (entity, "user") DO UPDATE SET role = excluded.role',
        member.entity,
        member.user,
        member.role.value,
    )
