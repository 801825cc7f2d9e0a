"""Bells of an embedded store: one datagram socket per listening process in ``<home>/bells``."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from windlass import ids
from windlass_metastore_sql.bells import ALL, Bells

if TYPE_CHECKING:
    import socket

_STOP = b"\0"


class SocketBells(Bells):
    """Writers send the topics to every socket in a directory; sockets of dead processes are removed on the way.

    Args:
        folder: The directory.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._name = f"{os.getpid()}-{ids.new_run_id()}"
        self._socket: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._fd = -1
        self._guard = threading.Lock()

    def listen(self) -> None:
        """Bind this process's socket and read it in a thread."""
        import socket

        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address(self._name))
        self._thread = threading.Thread(target=self._receive, args=(self._socket,), name="windlass-bells", daemon=True)
        self._thread.start()

    def _receive(self, bell: socket.socket) -> None:
        while True:
            try:
                data = bell.recv(65536)
            except OSError:
                return
            if data == _STOP:
                return
            self.rang(data.decode("utf-8", "replace").split("\n"))

    def send(self, topics: set[str]) -> None:
        """Send the topics to every listener; a full socket means that its owner has been woken already."""
        data = "\n".join(topics).encode()
        if len(data) > 60000:
            data = ALL.encode()
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder):
                self._send_to(name, data)

    def _send_to(self, name: str, data: bytes) -> None:
        with self._guard:  # writers of several threads share one socket
            if self._sender is None:
                import socket

                self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._sender.setblocking(False)
            sender = self._sender
        try:
            sender.sendto(data, self._address(name))
        except (ConnectionRefusedError, ConnectionResetError):
            with contextlib.suppress(OSError):
                os.unlink(self._folder / name)
        except OSError:
            pass  # full, just closed, or not ours: nobody is lost, waiters also look once a second

    def _address(self, name: str) -> str:
        # A socket's address holds about 100 bytes; the way through an open directory is short for any home.
        if sys.platform != "linux":
            return str(self._folder / name)
        if self._fd < 0:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._fd}/{name}"

    def close(self) -> None:
        """Remove the socket. May be repeated."""
        super().close()
        if self._socket is not None:
            self._send_to(self._name, _STOP)
            if self._thread is not None:
                self._thread.join(1.0)
            self._socket.close()
            self._socket = None
            with contextlib.suppress(OSError):
                os.unlink(self._folder / self._name)
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
