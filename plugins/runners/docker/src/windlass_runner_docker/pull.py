"""Getting an image that the engine does not have."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from docker.errors import APIError

from windlass.errors import PluginError, SubmitError
from windlass.launch.images import parse_image

if TYPE_CHECKING:
    import docker

    from windlass.plugins import Context
    from windlass.registries import Registry

__all__ = ["Pull", "pull"]

_REFUSALS = ("denied", "unauthorized", "authentication", "no basic auth", "not found", "manifest unknown")


class Pull:
    """One image that is being pulled; another thread may give it up.

    Args:
        connect: Makes a connection of its own to the engine: on it silence is nothing, as registries may be slow.
    """

    def __init__(self, connect: Callable[[], docker.APIClient]) -> None:
        self._connect = connect
        self._came: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()

    def give_up(self, why: str) -> None:
        """Have `lines` raise `SubmitError`. The engine goes on pulling, so that the next one may find the image."""
        self._came.put(SubmitError(why))

    def lines(self, name: str, **options: Any) -> Iterator[dict[str, Any]]:
        """What the engine says."""
        threading.Thread(target=self._read, args=(name,), kwargs=options, name="windlass-pull", daemon=True).start()
        while (came := self._came.get()) is not None:
            if isinstance(came, Exception):
                raise came
            yield came

    def _read(self, name: str, **options: Any) -> None:
        try:
            with closing(self._connect()) as api:
                for line in api.pull(name, stream=True, decode=True, **options):
                    self._came.put(line)
        except Exception as error:
            self._came.put(error)
        self._came.put(None)


def pull(one: Pull, context: Context, registry: Mapping[str, Any] | None, image: str, platform: str) -> None:
    """Pull an image, signed in with the registry plugin for its host, or as the engine's own client would be.

    Raises:
        SubmitError: It cannot be had; retryable when the registry failed rather than refused.
    """
    ref = parse_image(image, where="image")
    found = _registry(context, registry, ref.host)
    auth: dict[str, str] | None = None
    if found is not None:
        try:
            given = found.credentials(image)
        finally:
            found.close()
        auth = {"username": given.username, "password": given.password} if given.username else None
    try:
        for line in one.lines(ref.name, tag=ref.target, auth_config=auth, platform=platform or None):
            if "error" in line:
                raise _refused(image, str(line["error"]), retryable=False)
    except APIError as error:
        text = str(error.explanation or error)
        refused = any(word in text.lower() for word in _REFUSALS)  # the engine passes a 401 on as its own failure
        raise _refused(image, text, retryable=(error.status_code or 500) >= 500 and not refused) from None


def _registry(context: Context, config: Mapping[str, Any] | None, host: str) -> Registry | None:
    """The configured registry, else one whose plugin is meant for this host; None: docker's own way."""
    if config:
        rest = dict(config)
        return context.app.create_registry(str(rest.pop("type", "")), rest, environment=context.environment)
    for info, descriptor in context.app.registries.get_all():
        if not isinstance(descriptor, PluginError) and any(fnmatch(host, glob) for glob in descriptor.hosts):
            return context.app.create_registry(info.name, environment=context.environment)
    return None


def _refused(image: str, why: str, *, retryable: bool) -> SubmitError:
    return SubmitError(
        f"the image {image} cannot be pulled: {why}",
        where=image,
        hint="Check its name, and the registry's credentials.",
        retryable=retryable,
    )
