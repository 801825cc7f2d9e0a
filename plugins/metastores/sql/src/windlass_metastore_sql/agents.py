"""Agents and their heartbeats."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from windlass.errors import NotFoundError
from windlass.metastore import AgentStore
from windlass.models.queue import Agent, QueueRef
from windlass.models.run import LOST_AFTER
from windlass_metastore_sql.bells import topic
from windlass_metastore_sql.database import Database, Row, Tx, marks
from windlass_metastore_sql.rows import Mapper
from windlass_metastore_sql.tending import set_back

AGENTS = Mapper(Agent)


class SqlAgents(AgentStore):
    """Agents in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def register(self, agent: Agent) -> Agent:
        """See `AgentStore.register`. The same id again replaces what is known of it."""
        now = self._db.now()
        agent = evolve(agent, created_at=agent.created_at or now, heartbeat_at=now)
        columns = ", ".join(f'"{name}" = excluded."{name}"' for name in AGENTS.names if name != "id")
        sql = (
            f"INSERT INTO agents ({AGENTS.columns}) VALUES ({marks(len(AGENTS.names))}) "
            f"ON CONFLICT (id) DO UPDATE SET {columns}"
        )
        with self._db.write() as tx:
            _check_queues(tx, agent.queues)
            tx.run(sql, *AGENTS.dump(agent))
            set_back(tx, self._db.now())
        return agent

    def heartbeat(self, agent_id: str, state: str, runs: Sequence[str]) -> Agent:
        """See `AgentStore.heartbeat`."""
        held = AGENTS.dump(Agent(id=agent_id, runs=tuple(runs)))[AGENTS.names.index("runs")]
        sql = f"UPDATE agents SET state = ?, runs = ?, heartbeat_at = ? WHERE id = ? RETURNING {AGENTS.columns}"
        with self._db.write(durable=False) as tx:
            set_back(tx, self._db.now())
            return _found(tx.row(sql, state, held, self._db.now(), agent_id), agent_id)

    def get(self, agent_id: str) -> Agent:
        """See `AgentStore.get`."""
        with self._db.read() as tx:
            row = tx.row(f"SELECT {AGENTS.columns} FROM agents WHERE id = ?", agent_id)
        return _as_seen(_found(row, agent_id), self._db.now())

    def list(self, entity: str = "") -> tuple[Agent, ...]:
        """See `AgentStore.list`."""
        where, values = ("WHERE entity = ? ", (entity,)) if entity else ("", ())
        with self._db.read() as tx:
            rows = tx.rows(f"SELECT {AGENTS.columns} FROM agents {where}ORDER BY seq DESC", *values)
        now = self._db.now()
        return tuple(_as_seen(AGENTS.load(row), now) for row in rows)

    def request_drain(self, agent_id: str) -> Agent:
        """See `AgentStore.request_drain`."""
        sql = f"UPDATE agents SET drain_requested = 1 WHERE id = ? RETURNING {AGENTS.columns}"
        with self._db.write() as tx:
            agent = _found(tx.row(sql, agent_id), agent_id)
            tx.topics.update(topic(ref) for ref in agent.queues)
        return agent


def live_agents(tx: Tx, now: float) -> list[Agent]:
    """Agents that have not stopped and are not lost."""
    rows = tx.rows(
        f"SELECT {AGENTS.columns} FROM agents WHERE heartbeat_at > ? AND state <> 'stopped'",
        now - LOST_AFTER,
    )
    return [AGENTS.load(row) for row in rows]


def _as_seen(agent: Agent, now: float) -> Agent:
    lost = agent.state != "stopped" and now - agent.heartbeat_at > LOST_AFTER
    return evolve(agent, state="lost") if lost else agent


def _found(row: Row | None, agent_id: str) -> Agent:
    if row is None:
        raise NotFoundError(f"there is no agent '{agent_id}'", hint="It must be registered first.")
    return AGENTS.load(row)


def _check_queues(tx: Tx, wanted: Sequence[QueueRef]) -> None:
    missing = [
        ref for ref in wanted if not tx.row("SELECT 1 FROM queues WHERE entity = ? AND name = ?", ref.entity, ref.name)
    ]
    if not missing:
        return
    names = [
        f"{entity}/{name}" for entity, name in tx.rows("SELECT entity, name FROM queues ORDER BY entity, name LIMIT 50")
    ]
    raise NotFoundError(
        f"there is no queue {', '.join(f'{ref.entity}/{ref.name}' for ref in missing)}",
        hint=f"Queues: {', '.join(names)}." if names else "Make one: windlass queue create …",
        context={"missing": [topic(ref) for ref in missing], "there": names},
    )
