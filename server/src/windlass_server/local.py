"""The API of an embedded store for the jobs of this host, on a unix socket."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from windlass.metastore import MetadataStore

if TYPE_CHECKING:
    from windlass_server.running import BackgroundServer

__all__ = ["LocalApi"]

_log = logging.getLogger(__name__)
_LOOK_EVERY = 0.3
SOCKET = "api.sock"


class LocalApi:
    """Serves the store to jobs on ``<home>/api/api.sock``; every call needs a token.

    Of several agents on one home, the one that holds the lock ``<home>/api/lock`` serves. The others look three
    times a second whether it is free, so that the jobs of an agent that died find another one within a second.
    Use it as a context manager, or call `start` and `close`.

    Args:
        store: The embedded store. It stays the caller's.
        app: The process's plugins. Kept for symmetry with the other services; not used yet.
        home: ``WINDLASS_HOME``.

    Attributes:
        directory: What is mounted into containers; holds the socket.
        url: ``unix://<home>/api/api.sock``.
    """

    def __init__(self, store: MetadataStore, app: Any, home: Path) -> None:
        self.directory = Path(home).absolute() / "api"
        self.url = f"unix://{self.directory / SOCKET}"
        self._store = store
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._lock = -1
        self._server: BackgroundServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def serving(self) -> bool:
        """True while this process is the one that serves."""
        return self._server is not None

    def start(self) -> None:
        """Serve, or stand by while another process of this home serves. Returns when the socket is there."""
        self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.directory.chmod(0o711)  # jobs of other users pass through to the socket, and see nothing
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._take_over():
            self._thread = threading.Thread(target=self._stand_by, name="windlass-api-standby", daemon=True)
            self._thread.start()

    def _take_over(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        from windlass_server.app import create_app
        from windlass_server.running import BackgroundServer

        server = BackgroundServer(create_app(self._store), self._bind())
        server.start()
        self._server = server
        return True

    def _stand_by(self) -> None:
        while not self._stop.wait(_LOOK_EVERY):
            try:
                if self._take_over():
                    _log.info("serving the API to the jobs of this host now")
                    return
            except Exception:
                _log.exception("cannot serve the API to jobs; trying again")
                with contextlib.suppress(OSError):
                    fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _bind(self) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.directory / SOCKET)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if sys.platform == "linux":  # an address holds about 100 bytes; the way through an open directory is short
            folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                listener.bind(f"/proc/self/fd/{folder}/{SOCKET}")
            finally:
                os.close(folder)
        else:
            listener.bind(str(self.directory / SOCKET))
        (self.directory / SOCKET).chmod(0o666)
        listener.listen(512)
        return listener

    def close(self) -> None:
        """Stop serving, and let another process take over. May be repeated."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)
            self._thread = None
        if self._server is not None:
            # The socket file stays: the next one replaces it, and jobs that call meanwhile try again.
            self._server.stop()
            self._server = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
