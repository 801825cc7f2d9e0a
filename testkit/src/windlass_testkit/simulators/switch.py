"""A socket in front of a real engine that a test can take away and give back."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Self

__all__ = ["Switch"]


class Switch:
    """Passes on what comes to the socket `path` while it is on. Use it as a context manager; it begins switched on.

    Args:
        path: Its own socket.
        target: The engine's.
    """

    def __init__(self, path: str, target: str) -> None:
        self._path = path
        self._target = target
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    def on(self) -> None:
        """The engine answers."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self._path)
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def off(self, *, keep: bool = False) -> None:
        """The engine is away: its socket is gone. With `keep` it goes on answering on connections that are open."""
        listener, self._listener = self._listener, None
        if listener is not None:
            os.unlink(self._path)
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if not keep:
            with self._lock:
                for connection in self._open:
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            engine.connect(self._target)
            with self._lock:
                self._open |= {client, engine}
            ends = [threading.Thread(target=self._pass, args=pair, daemon=True)
                    for pair in ((client, engine), (engine, client))]  # fmt: skip
            for end in ends:
                end.start()
            threading.Thread(target=self._finish, args=(ends, client, engine), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _finish(self, ends: list[threading.Thread], *connections: socket.socket) -> None:
        for end in ends:
            end.join()
        with self._lock:
            self._open -= set(connections)
        for connection in connections:
            connection.close()

    def __enter__(self) -> Self:
        self.on()
        return self

    def __exit__(self, *_: object) -> None:
        self.off()
