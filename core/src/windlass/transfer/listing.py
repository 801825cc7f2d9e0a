"""Listing a large key space side by side: what S3 and Google Cloud Storage have in common.

Both give keys in order of their UTF-8 bytes, and can begin behind any key. So a listing may be cut at arbitrary keys
into ranges that are read at the same time. The cuts are guesses: good ones make it fast, bad ones cost a request.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from attrs import frozen

__all__ = ["Page", "list_ranges"]

T = TypeVar("T")
_FOLDERS = 20  # cuts at sub-folders, at most
_ROUNDS = 3


@frozen(kw_only=True)
class Page(Generic[T]):
    """One answer of the store.

    Attributes:
        keys: In order.
        items: What is known of each.
        last: The last key the store looked at, also when it is not among the items.
        token: How to go on, or empty when this is the end.
    """

    keys: list[str]
    items: list[T]
    last: str = ""
    token: str = ""


def list_ranges(
    page: Callable[[str, str, str], Page[T]],
    names: Callable[[str, str], list[str]],
    *,
    folder: str,
    workers: int = 32,
) -> Iterator[T]:
    """All items below a folder in key order, from several ranges at once when there is more than one page.

    Args:
        page: Gets a key, a token and a last key; gives the keys of the folder behind that key (or behind the token's
            place). It may leave out those behind the last key, where that is not empty, but not from what it looked at.
        names: Gets a folder and a key; gives sub-folders (with ``/``) and keys right in that folder behind the key,
            at most one page of them.
        folder: ``a/b/``, or empty for everything.
        workers: Most requests at once.
    """
    first = page("", "", "")
    yield from first.items
    if not first.token:
        return
    cuts = _cuts(names, folder, first)
    stopped = threading.Event()
    last = first.last

    # Stores differ in whether a listing begins at or behind a key that does not exist. So each range reads on to the
    # first key of the next one, and what comes twice is left out below.
    def read(after: str, upto: str) -> tuple[list[str], list[T]]:
        keys: list[str] = []
        items: list[T] = []
        token = ""
        while not stopped.is_set():
            answer = page(after, token, upto)
            keys += answer.keys
            items += answer.items
            token = answer.token
            if not token or (upto and answer.last > upto):
                break
        return keys, items

    ranges = deque(zip([first.last, *cuts], [*cuts, ""], strict=True))
    running: deque[Future[tuple[list[str], list[T]]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="list") as pool:
        try:
            while ranges or running:
                while ranges and len(running) < workers:
                    running.append(pool.submit(read, *ranges.popleft()))
                keys, items = running.popleft().result()
                yield from items[bisect_right(keys, last) :]
                last = max([last, *keys[-1:]])
        finally:
            stopped.set()
            for future in running:
                future.cancel()


def _cuts(names: Callable[[str, str], list[str]], folder: str, first: Page[T]) -> list[str]:
    # Of the keys next to each other only the last is of use: it is a page away.
    level = [name for name in names(folder, first.last) if name > first.last]
    found = set(level[-1:])
    folders = [name for name in level if name.endswith("/")]
    for _ in range(_ROUNDS):
        if not folders or len(folders) >= _FOLDERS // 2:
            break
        below = [name for folder in folders for name in names(folder, "") if name.endswith("/")]
        found.update(folders)
        folders = below
    count = min(_FOLDERS, len(folders))
    found.update(folders[len(folders) * number // count] for number in range(count))
    return sorted(cut for cut in found.union(_guesses(first)) if cut > first.last)


def _guesses(first: Page[T]) -> Iterator[str]:
    """Keys that may come when the names are numbered or hashed: the next values of their leading characters."""
    if not first.keys:
        return
    start, last = first.keys[0], first.last
    parent = last.rfind("/") + 1
    same = next((i for i, (a, b) in enumerate(zip(start, last, strict=False)) if a != b), min(len(start), len(last)))
    for position in range(parent, min(same + 1, len(last))):
        for alphabet in ("0123456789", "abcdefghijklmnopqrstuvwxyz"):
            if last[position] in alphabet and (alphabet[0] == "0" or position >= same):
                for following in alphabet[alphabet.index(last[position]) + 1 :]:
                    yield last[:position] + following
                    if alphabet[0] == "0":
                        yield last[:position] + following + "5"  # a number below has ten times as many behind it
