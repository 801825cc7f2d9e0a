"""Listing by ranges: everything once and in order, whatever the keys are, and far from one page after the other."""

import threading
from bisect import bisect_right
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from windlass.transfer import Page, list_ranges


class Store:
    """Keys in order, given a page at a time as S3 gives them."""

    def __init__(self, keys: list[str], page: int, cuts: bool = False) -> None:
        self.keys, self.page, self.cuts = sorted(set(keys)), page, cuts
        self.pages_in_row: Counter[str] = Counter()
        self.lock = threading.Lock()

    def read(self, after: str, token: str, upto: str) -> Page[str]:
        with self.lock:
            self.pages_in_row[after] += 1
        found = self.keys[bisect_right(self.keys, token or after) :][: self.page]
        more = bool(found) and found[-1] != self.keys[-1]
        wanted = found[: bisect_right(found, upto)] if upto and self.cuts else found
        return Page(keys=wanted, items=wanted, last=found[-1] if found else "", token=found[-1] if more else "")

    def names(self, folder: str, after: str) -> list[str]:
        found: list[str] = []
        for key in self.keys[bisect_right(self.keys, after) :]:
            if key.startswith(folder):
                head, mark, _ = key[len(folder) :].partition("/")
                if folder + head + mark not in found[-1:]:
                    found.append(folder + head + mark)
        return found[: self.page]

    def list(self) -> list[str]:
        return list(list_ranges(self.read, self.names, folder=""))


@given(
    st.lists(st.text("ab019/%", min_size=1, max_size=6).filter(lambda key: not key.endswith("/"))),
    st.integers(1, 5),
    st.booleans(),
)
def test_everything_once_and_in_order(keys: list[str], page: int, cuts: bool) -> None:
    store = Store(keys, page, cuts)
    assert store.list() == store.keys


def test_numbered_keys_are_read_side_by_side() -> None:
    store = Store([f"{number:07}" for number in range(100_000)], 1000)
    assert store.list() == store.keys
    assert max(store.pages_in_row.values()) <= 7


def test_folders_are_read_side_by_side() -> None:
    store = Store([f"{folder:03}/{number:05}" for folder in range(50) for number in range(2000)], 1000)
    assert store.list() == store.keys
    assert max(store.pages_in_row.values()) <= 12
