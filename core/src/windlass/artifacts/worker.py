"""A process that reads or writes many small files for another one. It is run as a script and loads nothing of Windlass.

What fails is not explained but left to the one who asked: he does it himself, and meets and reports what is wrong.

A request on stdin is its length in 4 bytes and then, in the `marshal` format, a function's name, where the answer and
where content has its place in the memory that both share, and an argument. The answer's length is written to stdout in
4 bytes. An empty request, or the end of stdin, ends the process.
"""

from __future__ import annotations

import marshal
import mmap
import os
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_READ = os.O_RDONLY | os.O_CLOEXEC
_NAMELESS = getattr(os, "O_TMPFILE", 0) | os.O_WRONLY | os.O_CLOEXEC
_pack = struct.Struct("=QQqqq").pack  # as `windlass.artifacts.files.signature`

Make = Callable[[memoryview], Any]
Small = tuple[int, int, str, str]
"""A file in a pack: offset, size, digest without its algorithm, and the path it is written to."""


def read(memory: memoryview, make: Make, start: int, files: list[tuple[str, int]]) -> tuple[list[bytes], list[str]]:
    """Read files, each a path and its size, into the memory, one behind the other from `start` on.

    Returns their signatures and digests, both empty for what could not be read.
    """
    signatures, digests = [], []
    for path, size in files:
        signature, digest = b"", ""
        with suppress(OSError):
            handle = os.open(path, _READ)
            try:
                if os.readv(handle, (memory[start : start + size + 1],)) == size:  # one more, should it have grown
                    stat = os.fstat(handle)
                    signature = _pack(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                    digest = make(memory[start : start + size]).hexdigest()
            finally:
                os.close(handle)
        signatures.append(signature)
        digests.append(digest)
        start += size
    return signatures, digests


def write(_: memoryview, make: Make, _start: int, ranges: list[tuple[str, int, int, list[Small]]]) -> list[int]:
    """Write files whose contents lie in ranges of blobs; each is proven and whole before it has its name.

    Returns the numbers of those that were not written, counted through all ranges.
    """
    left, number = [], 0
    for blob, start, end, files in ranges:
        data = memoryview(b"")
        with suppress(OSError):
            handle = os.open(blob, _READ)
            try:
                data = memoryview(os.pread(handle, end - start, start))
            finally:
                os.close(handle)
        for offset, size, digest, path in files:
            content = data[offset - start : offset - start + size]
            if len(content) != size or make(content).hexdigest() != digest or not _write_one(content, path):
                left.append(number)
            number += 1
    return left


def _write_one(content: memoryview, path: str) -> bool:
    with suppress(OSError):
        handle = os.open(path[: path.rindex("/")], _NAMELESS, 0o666)
        try:
            if os.write(handle, content) == len(content):
                os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle, follow_symlinks=True)
                return True
        finally:
            os.close(handle)
    return False


def main(shared: str, packages: str, algorithm: str) -> None:
    """Serve.

    Args:
        shared: Descriptor of the memory.
        packages: Folder with the package blake3.
        algorithm: Digest algorithm.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both; the other one decides
    make: Make
    if algorithm == "blake3":
        sys.path.append(packages)
        from blake3 import blake3 as make
    else:
        from hashlib import sha256 as make
    memory = memoryview(mmap.mmap(int(shared), 0))
    functions: dict[str, Callable[..., Any]] = {"read": read, "write": write}
    while length := int.from_bytes(sys.stdin.buffer.read(4), "little"):
        name, place, start, words = marshal.loads(sys.stdin.buffer.read(length))  # noqa: S302 - from our parent
        answer = marshal.dumps(functions[name](memory, make, start, words))
        memory[place : place + len(answer)] = answer
        os.write(1, len(answer).to_bytes(4, "little"))


if __name__ == "__main__":
    main(*sys.argv[1:])
