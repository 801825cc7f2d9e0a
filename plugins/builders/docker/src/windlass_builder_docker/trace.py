"""BuildKit's progress as the engine's API sends it: a protobuf message, of which we read names, output and errors."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["TraceReader"]

_VERTEX, _LOG = 1, 3  # fields of moby.buildkit.v1.StatusResponse
_V_DIGEST, _V_NAME, _V_CACHED, _V_ERROR = 1, 3, 4, 7
_L_MESSAGE = 4


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protobuf message. Stops at what it cannot read."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while at < len(data) and shift < 70:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7
        raise ValueError

    try:
        while at < len(data):
            key = varint()
            kind = key & 7
            if kind == 0:
                yield key >> 3, varint()
            elif kind == 2:
                size = varint()
                yield key >> 3, data[at : at + size]
                at += size
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                return
    except ValueError:
        return


class TraceReader:
    """Turns progress messages into a plain log."""

    def __init__(self) -> None:
        self._named: set[bytes] = set()
        self._failed: set[bytes] = set()

    def read(self, message: bytes) -> Iterator[bytes]:
        """The pieces of log in one message."""
        for number, value in _fields(message):
            if not isinstance(value, bytes):
                continue
            if number == _VERTEX:
                yield from self._vertex(dict(_fields(value)))
            elif number == _LOG:
                text = dict(_fields(value)).get(_L_MESSAGE)
                if isinstance(text, bytes):
                    yield text

    def _vertex(self, fields: dict[int, int | bytes]) -> Iterator[bytes]:
        digest, name, error = (fields.get(n) for n in (_V_DIGEST, _V_NAME, _V_ERROR))
        if isinstance(digest, bytes) and isinstance(name, bytes) and digest not in self._named:
            self._named.add(digest)
            yield name + (b" (cached)" if fields.get(_V_CACHED) else b"") + b"\n"
        if isinstance(digest, bytes) and isinstance(error, bytes) and error and digest not in self._failed:
            self._failed.add(digest)
            yield b" > [" + (name if isinstance(name, bytes) else b"").replace(b"[", b"").replace(b"] ", b"] ", 1)
            yield b"\nERROR: " + error + b"\n"
