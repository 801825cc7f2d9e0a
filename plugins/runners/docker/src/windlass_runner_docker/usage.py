"""What containers use while they run; an engine forgets it when they end."""

from __future__ import annotations

import time
from typing import Any

from docker.errors import APIError
from docker.utils import version_lt

from windlass.runners import ResourceUsage

__all__ = ["Usage"]

_EVERY = 2.0
_AT_ONCE = 8
"""Containers asked about in one round: each is a request of its own, and who polls a thousand cannot wait for all."""


class Usage:
    """The last figures of each container.

    Args:
        api: The engine's low-level client.
    """

    def __init__(self, api: Any) -> None:
        self._api = api
        self._known: dict[str, tuple[float, ResourceUsage | None]] = {}
        self._left = 0
        # Older engines watch a container for a second or two before they answer.
        self._able = not version_lt(api._version, "1.41")

    def begin(self) -> None:
        """A round begins."""
        self._left = _AT_ONCE if self._able else 0

    def of_running(self, container: str) -> ResourceUsage | None:
        """What a running container has used, as of some seconds ago at most; None if that is not known."""
        at, known = self._known.get(container, (0.0, None))
        now = time.monotonic()
        if self._left > 0 and (not at or now - at >= _EVERY):
            self._left -= 1
            known = _joined(known, self._ask(container))
            self._known[container] = now, known
        return known

    def of_ended(self, container: str) -> ResourceUsage | None:
        """The last that was seen."""
        return self._known.get(container, (0.0, None))[1]

    def forget(self, container: str) -> None:
        """It is removed."""
        self._known.pop(container, None)

    def _ask(self, container: str) -> ResourceUsage | None:
        try:
            url = self._api._url("/containers/{0}/stats", container)
            found = self._api._result(self._api._get(url, params={"stream": 0, "one-shot": 1}), json=True)
        except APIError as error:
            if error.status_code not in (404, 409):  # it has ended meanwhile
                raise
            return None
        memory = found.get("memory_stats") or {}
        nanoseconds = ((found.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
        if not nanoseconds or "usage" not in memory:
            return None  # ended, and all figures are zero
        details = memory.get("stats") or {}
        cached = details.get("inactive_file", details.get("total_inactive_file", 0))
        rss = max(int(memory.get("max_usage", 0)), int(memory["usage"]) - int(cached))
        return ResourceUsage(cpu_seconds=nanoseconds / 1e9, max_rss=rss)


def _joined(old: ResourceUsage | None, new: ResourceUsage | None) -> ResourceUsage | None:
    if old is None or new is None:
        return new or old
    return ResourceUsage(cpu_seconds=new.cpu_seconds, max_rss=max(old.max_rss or 0, new.max_rss or 0))
