"""Taking items off queues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import inf
from typing import Any

from attrs import frozen

from windlass.errors import NotFoundError
from windlass.models.queue import Claim, ClaimRequest, Queue, QueueLimits, QueueRef
from windlass.models.run import RunPhase, RunState
from windlass.models.schedule import Budget
from windlass_metastore_sql.budgets import exhausted, without
from windlass_metastore_sql.database import Row, Tx, marks
from windlass_metastore_sql.fitting import Room
from windlass_metastore_sql.items import CLAIMED, DELAYED, EXPIRING, SOMETHING_TO_TEND, WAITING, urgency
from windlass_metastore_sql.queue_table import QUEUES
from windlass_metastore_sql.run_table import RUNS

_HOST_LEASES = 10
"""Leases after which a run that is bound to a host may be taken by others."""
UNLIMITED = QueueLimits()
_LOOK_AHEAD = 200
"""Items that are looked at for one that fits the agent's capacity."""


@lru_cache(maxsize=512)
def load_queue(row: Row) -> Queue:
    """The queue of a row; the same row need not be parsed again."""
    return QUEUES.load(row)


def find_queue(tx: Tx, ref: QueueRef, *, lock: bool = False) -> tuple[int, Queue]:
    """A queue and its number. Raises `NotFoundError` naming the queues there are."""
    sql = f"SELECT {QUEUES.columns}, id FROM queues WHERE entity = ? AND name = ?{' {lock}' if lock else ''}"
    row = tx.row(sql, ref.entity, ref.name)
    if row is not None:
        return int(row[-1]), load_queue(row)
    names = [name for (name,) in tx.rows("SELECT name FROM queues WHERE entity = ? ORDER BY name LIMIT 20", ref.entity)]
    raise NotFoundError(
        f"there is no queue '{ref.name}' in '{ref.entity}'",
        hint=f"Queues there: {', '.join(names)}." if names else f"Make one: windlass queue create {ref.name} …",
        context={"queue": ref.name, "entity": ref.entity, "there": names},
    )


def anything(tx: Tx, queues: Sequence[int], now: float) -> bool:
    """True when a claim may find something."""
    if not queues:
        return False
    row = tx.row(
        f"SELECT EXISTS (SELECT 1 FROM items WHERE status = {WAITING} AND queue_id IN ({marks(len(queues))})) "
        f"OR EXISTS (SELECT 1 FROM items WHERE status = {DELAYED} AND not_before <= ?) "
        f"OR EXISTS (SELECT 1 FROM items WHERE status = {CLAIMED} AND queue_id IN ({marks(len(queues))}) "
        "AND lease_until <= ?) "
        f"OR {SOMETHING_TO_TEND}",
        *queues,
        now,
        *queues,
        now,
        now,
        now,
    )
    return bool(row and row[0])


def next_due(tx: Tx, queues: Sequence[int], now: float) -> float:
    """When time alone will bring something: a delay or a lease ends. Infinity: never.

    What is due already, and nobody has looked after, is nothing to wait for: it would be found again and again.
    """
    if not queues:
        return inf
    row = tx.row(
        f"SELECT (SELECT min(not_before) FROM items WHERE status = {DELAYED} AND not_before > ?), "
        f"(SELECT min(lease_until) FROM items WHERE status = {CLAIMED} AND queue_id IN ({marks(len(queues))}) "
        "AND lease_until > ?), "
        f"(SELECT min(expires_at) FROM items WHERE {EXPIRING}), (SELECT min(next_at) FROM triggers WHERE next_at > 0)",
        now,
        *queues,
        now,
    )
    return min((value for value in row or () if value is not None and value > now), default=inf)


@frozen
class Ahead:
    """What a claim has to look at beside the line; usually nothing.

    Attributes:
        expired: Claims whose lease ended.
        delayed: Items whose delay is over.
        budgeted: Somebody has a budget.
        untended: There is something for `tending.tend`.
    """

    expired: bool
    delayed: bool
    budgeted: bool
    untended: bool


_AHEAD = (
    f"SELECT EXISTS (SELECT 1 FROM items WHERE status = {CLAIMED} AND lease_until <= ?), "
    f"EXISTS (SELECT 1 FROM items WHERE status = {DELAYED} AND not_before <= ?), EXISTS (SELECT 1 FROM budgets), "
    f"{SOMETHING_TO_TEND}"
)


def look_ahead(tx: Tx, now: float) -> Ahead:
    """See `Ahead`."""
    row = tx.row(_AHEAD, now, now, now, now)
    assert row is not None
    return Ahead(*map(bool, row))


def claim(
    tx: Tx, request: ClaimRequest, queues: Sequence[tuple[int, Queue]], ahead: Ahead, now: float
) -> tuple[Claim, ...]:
    """Take expired claims, then waiting items."""
    found: list[Claim] = []
    for number, queue in queues if ahead.expired else ():
        for run_id in _expired(tx, request, number, request.limit - len(found), now):
            found += _take(tx, request, queue, run_id, CLAIMED, now)
    if request.run:
        return tuple(found)
    if ahead.delayed:
        tx.run(
            f"UPDATE items SET status = {WAITING} WHERE run_id IN "
            f"(SELECT run_id FROM items WHERE status = {DELAYED} AND not_before <= ? {{skip}})",
            now,
        )
    held = exhausted(tx, now) if ahead.budgeted else []
    room = Room(tx, request, now)
    for number, queue in queues:
        left = request.limit - len(found)
        if left <= 0 or room.kept:
            break
        if queue.paused:
            continue
        for run_id in _waiting(tx, room, number, queue, left, held, now):
            found += _take(tx, request, queue, run_id, WAITING, now)
    return tuple(found)


def _expired(tx: Tx, request: ClaimRequest, queue_id: int, limit: int, now: float) -> list[str]:
    # An agent gets its own expired claim too, one lease later: the answer to a claim may have been lost on its way.
    rows = tx.rows(
        f"SELECT run_id FROM items WHERE queue_id = ? AND status = {CLAIMED} AND lease_until <= ? "
        f"AND (host = '' OR host = ? OR lease_until + {_HOST_LEASES - 1} * lease_seconds <= ?) "
        "AND (agent <> ? OR lease_until + lease_seconds <= ?) AND (? = '' OR run_id = ?) "
        "ORDER BY lease_until LIMIT ? {skip}",
        queue_id,
        now,
        request.host,
        now,
        request.agent,
        now,
        request.run,
        request.run,
        max(limit, 0),
    )
    return [run_id for (run_id,) in rows]


def _waiting(
    tx: Tx, room: Room, queue_id: int, queue: Queue, limit: int, held: list[Budget], now: float
) -> Iterator[str]:
    limits = queue.limits
    if queue.fair_share or limits.per_user is not None or limits.concurrency is not None:
        tx.row("SELECT turn FROM queues WHERE id = ? {lock}", queue_id)  # those who count must not count side by side
    if limits.concurrency is not None:
        row = tx.row(f"SELECT count(*) FROM items WHERE queue_id = ? AND status = {CLAIMED}", queue_id)
        limit = min(limit, limits.concurrency - (row[0] if row else 0))
    if limit <= 0:
        return
    if queue.fair_share or limits.per_user is not None:
        yield from _by_author(tx, room, queue_id, queue, limit, held, now)
        return
    ahead = _LOOK_AHEAD if room.counts else limit
    condition, values = without(held)
    rows = tx.rows(
        f"SELECT run_id FROM items WHERE queue_id = ? AND status = {WAITING}{condition} "
        "ORDER BY rank, pos LIMIT ? {skip}",
        queue_id,
        *values,
        ahead,
    )
    for (run_id,) in rows:
        if limit <= 0:
            return
        if room.fits(queue, run_id):
            room.take(queue, run_id)
            limit -= 1
            yield run_id
        elif room.is_due(queue, run_id):
            room.kept = True
            return


def _by_author(
    tx: Tx, room: Room, queue_id: int, queue: Queue, limit: int, held: list[Budget], now: float
) -> Iterator[str]:
    """Items one by one, looking only at the first of each author."""
    active: dict[str, int] = dict(
        tx.rows(
            f"SELECT author, count(*) FROM items WHERE queue_id = ? AND status = {CLAIMED} GROUP BY author",
            queue_id,
        )
    )
    turns: dict[str, int] = dict(tx.rows("SELECT author, turn FROM turns WHERE queue_id = ?", queue_id))
    most = queue.limits.per_user
    turn = max(turns.values(), default=0)
    for _ in range(limit):
        heads = [
            head
            for author in _authors(tx, queue_id)
            if (most is None or active.get(author, 0) < most)
            and (head := _head(tx, room, queue_id, queue, author, held)) is not None
        ]
        if not heads:
            return

        def key(head: Row) -> tuple[Any, ...]:
            _, author, _, rank, pos = head
            if not queue.fair_share:
                return rank, pos
            return (
                urgency(rank, now, prioritized=queue.prioritized),
                active.get(author, 0),
                turns.get(author, 0),
                rank,
                pos,
            )

        run_id, author, *_ = min(heads, key=key)
        if not room.fits(queue, run_id):
            room.kept = True
            return
        room.take(queue, run_id)
        turn += 1
        turns[author] = turn
        active[author] = active.get(author, 0) + 1
        tx.run(
            "INSERT INTO turns (queue_id, author, turn) VALUES (?, ?, ?) "
            "ON CONFLICT (queue_id, author) DO UPDATE SET turn = excluded.turn",
            queue_id,
            author,
            turn,
        )
        yield run_id


def _authors(tx: Tx, queue_id: int) -> list[str]:
    # One step in the index for each author, however many items each has.
    rows = tx.rows(
        "WITH RECURSIVE found(author) AS ("
        f"SELECT min(author) FROM items WHERE queue_id = ? AND status = {WAITING} UNION ALL "
        f"SELECT (SELECT min(items.author) FROM items WHERE queue_id = ? AND status = {WAITING} "
        "AND items.author > found.author) FROM found WHERE found.author IS NOT NULL) "
        "SELECT author FROM found WHERE author IS NOT NULL",
        queue_id,
        queue_id,
    )
    return [author for (author,) in rows]


def _head(tx: Tx, room: Room, queue_id: int, queue: Queue, author: str, held: list[Budget]) -> Row | None:
    """The first item of an author that fits, or that is not to be overtaken."""
    condition, values = without(held)
    rows = tx.rows(
        "SELECT run_id, author, priority, rank, pos FROM items "
        f"WHERE queue_id = ? AND status = {WAITING} AND author = ?{condition} ORDER BY rank, pos LIMIT ?",
        queue_id,
        author,
        *values,
        _LOOK_AHEAD if room.counts else 1,
    )
    return next((row for row in rows if room.fits(queue, row[0]) or room.is_due(queue, row[0])), None)


def _take(tx: Tx, request: ClaimRequest, queue: Queue, run_id: str, status: int, now: float) -> list[Claim]:
    until = now + request.lease_seconds
    waiting = status == WAITING
    took = tx.row(
        f"UPDATE items SET status = {CLAIMED}, agent = ?, lease_until = ?, lease_seconds = ?, limited = ?, "
        "fence = fence + 1 "
        f"WHERE run_id = ? AND status = ? AND (status = {WAITING} OR lease_until <= ?) RETURNING fence",
        request.agent,
        until,
        request.lease_seconds,
        int(queue.limits != UNLIMITED),
        run_id,
        status,
        now,
    )
    if took is None:
        return []  # somebody was faster
    begin = ", state = ?, phase = ?, not_before = 0" if waiting else ""
    row = tx.row(
        f"UPDATE runs SET fence = ?, agent = ?, claimed_at = ?{begin} WHERE id = ? RETURNING {RUNS.columns}",
        took[0],
        request.agent,
        now,
        *((RunState.PENDING.value, RunPhase.PREPARING.value) if waiting else ()),
        run_id,
    )
    assert row is not None, run_id
    return [Claim(run=RUNS.load(row), queue=queue, lease_until=until, takeover=not waiting)]
