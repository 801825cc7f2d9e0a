"""Signing in at git hosts for a launch, as the agent on this machine does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windlass.launch.request import LaunchRequest

__all__ = ["signed_in"]


def signed_in(request: LaunchRequest) -> LaunchRequest:
    """The request with what launch-config.yaml says of git hosts, where it launches from one.

    Raises:
        ConfigError, SecretError: The file or a secret of it does not fit.
    """
    from attrs import evolve

    from windlass.errors import UsageError
    from windlass.launch.uris import classify

    try:
        if not request.uri or not (host := classify(request.uri).host):
            return request
        from windlass_agent.config import load
        from windlass_agent.git_hosts import git_access
    except (UsageError, ImportError):
        return request  # what is wrong with the URI is said with everything else
    return evolve(request, git_access=git_access(load(), host))
