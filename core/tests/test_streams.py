"""Streams over chunks: whole however they are read, and opened again where they broke off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from windlass.artifacts.parts import rest_of
from windlass.errors import StorageError
from windlass.transfer import Chunk, RangeStream

DATA = bytes(range(256))


class Source:
    """Gives `DATA` in chunks, and breaks off once."""

    def __init__(self, chunk: int, breaks_at: int = -1) -> None:
        self.chunk, self.breaks_at = chunk, breaks_at
        self.opened: list[int] = []

    def fetch(self, start: int) -> Iterator[Chunk]:
        self.opened.append(start)
        for position in range(start, len(DATA), self.chunk):
            if position == self.breaks_at and len(self.opened) == 1:
                raise StorageError("the connection broke", retryable=True)
            yield DATA[position : position + self.chunk]

    def stream(self) -> RangeStream:
        return RangeStream(self.fetch, size=len(DATA), waits=(0.0,))


@pytest.mark.parametrize("chunk", [1, 64, 100, 256, 1000])
@pytest.mark.parametrize("before", [0, 1, 63, 64, 65, 255, 256])
@pytest.mark.parametrize("breaks", [False, True])
def test_the_rest_is_what_was_not_read(chunk: int, before: int, breaks: bool) -> None:
    source = Source(chunk, breaks_at=chunk if breaks else -1)
    with source.stream() as stream:
        assert stream.read(before) == DATA[:before]
        assert rest_of(stream) == DATA[before:]
        assert rest_of(stream) == b""
    assert source.opened == ([0, chunk] if breaks and chunk < len(DATA) else [0])


def test_one_chunk_is_not_copied() -> None:
    held = memoryview(DATA)
    with RangeStream(lambda _: iter((held,)), size=len(held)) as stream:
        assert rest_of(stream).obj is DATA


def test_what_ends_too_early_is_an_error() -> None:
    with RangeStream(lambda start: iter((DATA[start:100],)), size=len(DATA), name="s3://b/k", waits=(0.0,)) as stream:
        with pytest.raises(StorageError, match="too early") as failure:
            rest_of(stream)
        assert failure.value.where == "s3://b/k"
