"""A TCP port in front of a real server, whose answers a test can break off or hold back."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

__all__ = ["Tap"]


class Tap:
    """Passes on what comes to its port. Use it as a context manager.

    Args:
        target: Port of the server on this machine.

    Attributes:
        port: Its own.
        connections: How many there were.
        limit: Bytes of answers that a connection lets through; None: all.
        cuts: How many connections are broken off at the limit, -1 for all; those after them are let through.
        stalls: Connections are held at the limit in place of being broken off.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.limit: int | None = None
        self.cuts = -1
        self.stalls = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake who accepts
        self._listener.close()
        with self._lock:
            for end in self._open:
                end.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._open |= {near, far}
                self.connections += 1
            threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                if answers and self.limit is not None and passed + len(data) > self.limit and self.cuts:
                    sink.sendall(data[: max(0, self.limit - passed)])
                    if self.stalls:
                        self._closed.wait()
                    self.cuts -= 1
                    break
                passed += len(data)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
