"""Signing in at git hosts as launch-config.yaml says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass.config.secrets import SecretResolver
from windlass_agent.config import AgentConfig

if TYPE_CHECKING:
    from windlass.launch.git import GitAccess

__all__ = ["git_access"]


def git_access(config: AgentConfig) -> dict[str, GitAccess]:
    """How to sign in at git hosts, by host name, secrets resolved. Raises `SecretError`."""
    from windlass.launch.git import GitAccess
    from windlass.launch.secret_env import secret_references

    found = {}
    for host, given in config.git.items():
        token = None
        if given.token is not None:
            reference = secret_references({"token": given.token})["token"]
            token = SecretResolver().resolve(reference, where=f"git.{host}.token")
        found[host] = GitAccess(username=given.username, token=token, ssh_key=given.ssh_key)
    return found
