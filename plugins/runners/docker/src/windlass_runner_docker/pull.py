"""Getting an image that the engine does not have."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from docker.errors import APIError

from windlass.errors import PluginError, SubmitError
from windlass.launch.images import parse_image

if TYPE_CHECKING:
    import docker

    from windlass.plugins import Context
    from windlass.registries import Registry

__all__ = ["pull"]

_REFUSALS = ("denied", "unauthorized", "authentication", "no basic auth", "not found", "manifest unknown")


def pull(
    client: docker.DockerClient, context: Context, registry: Mapping[str, Any] | None, image: str, platform: str
) -> None:
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
    api: Any = client.api
    try:
        answer = api.pull(
            ref.name, tag=ref.target, auth_config=auth, platform=platform or None, stream=True, decode=True
        )
        for line in answer:
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
