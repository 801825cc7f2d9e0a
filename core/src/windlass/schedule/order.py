"""Whose turn it is on a queue where not simply the oldest item goes first."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping

from attrs import frozen

from windlass.models.queue import Queue

__all__ = ["Place", "by_author", "first_of"]


@frozen
class Place:
    """An item in the line.

    Attributes:
        run_id, author: Of the run.
        urgency: The priority it has by now, 0 first; authors take turns within one.
        rank: Where it stands by arrival and priority; smaller goes first.
    """

    run_id: str
    author: str
    urgency: int
    rank: tuple[float, ...]


def by_author(queue: Queue) -> bool:
    """Whether the line is looked at author by author."""
    return queue.fair_share or queue.limits.per_user is not None


def first_of(
    run_id: str, line: Iterable[Place], queue: Queue, active: Mapping[str, int], turns: Mapping[str, int]
) -> list[Place]:
    """The items that are taken before one, if no run ends meanwhile and nobody submits more.

    Args:
        run_id: The one; it is in `line`.
        line: The waiting items, by rank.
        queue: Their queue. Authors with as many runs as it allows are passed over.
        active: Runs at work by author.
        turns: When each author had a turn last; greater is later.
    """
    lines: dict[str, deque[Place]] = {}
    own = ""
    for place in line:
        lines.setdefault(place.author, deque()).append(place)
        own = place.author if place.run_id == run_id else own
    most = queue.limits.per_user
    busy, last = dict(active), dict(turns)
    turn = max(turns.values(), default=0)

    def entry(author: str) -> tuple[tuple[float, ...], str]:
        head = lines[author][0]
        if not queue.fair_share:
            return head.rank, author
        return (head.urgency, busy.get(author, 0), last.get(author, 0), *head.rank), author

    heads = [entry(author) for author in lines if author == own or most is None or busy.get(author, 0) < most]
    heapq.heapify(heads)
    first: list[Place] = []
    while heads:
        _, author = heapq.heappop(heads)
        head = lines[author].popleft()
        if head.run_id == run_id:
            break
        first.append(head)
        turn += 1
        busy[author], last[author] = busy.get(author, 0) + 1, turn
        if lines[author]:
            heapq.heappush(heads, entry(author))
    return first
