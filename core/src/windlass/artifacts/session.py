"""Upload sessions: they keep garbage collection away from blobs that no manifest names yet."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from windlass.errors import WindlassError

if TYPE_CHECKING:
    import logging

    from windlass.metastore import ArtifactStore

__all__ = ["UploadSession"]

_RENEW_SECONDS = 30.0


class UploadSession:
    """Opened when the first blob is stored or reused, renewed by a thread, closed with the block.

    Args:
        store: Where sessions are kept.
        owner: Who uploads, for people to read.
    """

    def __init__(self, store: ArtifactStore, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.id = ""

    def begin(self) -> None:
        """Open the session. May be repeated."""
        if not self.id:
            self.id = self._store.begin_upload(self._owner)
            self._thread = threading.Thread(target=self._renew, name="windlass-upload-session", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self.id:
            try:
                self._store.end_upload(self.id)
            except WindlassError:
                _log().debug("upload session %s could not be closed; it ends by itself", self.id, exc_info=True)

    def _renew(self) -> None:
        while not self._over.wait(_RENEW_SECONDS):
            try:
                self._store.renew_upload(self.id)
            except WindlassError:  # the next renewal is early enough
                _log().warning("upload session %s could not be renewed", self.id, exc_info=True)


def _log() -> logging.Logger:
    import logging  # a put that goes well does without it

    return logging.getLogger(__name__)
