"""Signing in at git hosts as launch-config.yaml says, and whether its secrets can be had."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.config.secrets import SecretResolver
from windlass.errors import ConfigError, Problem
from windlass_agent.config import AgentConfig

if TYPE_CHECKING:
    from windlass.launch.git import GitAccess

__all__ = ["git_access", "missing_keys", "missing_secrets"]


def git_access(config: AgentConfig, only: str = "") -> dict[str, GitAccess]:
    """How to sign in at git hosts, by host name, secrets resolved. Raises `SecretError`.

    Args:
        config: The agent's.
        only: The one host that is wanted; all when empty.
    """
    from windlass.launch.git import GitAccess
    from windlass.launch.secret_env import secret_references

    found = {}
    for host, given in config.git.items():
        if only not in ("", host):
            continue
        token = None
        if given.token is not None:
            reference = secret_references({"token": given.token})["token"]
            token = SecretResolver().resolve(reference, where=f"git.{host}.token")
        found[host] = GitAccess(username=given.username, token=token, ssh_key=given.ssh_key)
    return found


def missing_secrets(config: AgentConfig) -> list[Problem]:
    """References of the configuration's own secrets and git tokens that lead nowhere."""
    from windlass.launch.secret_env import secret_references

    wanted = [(f"$.secrets.{name}", {name: given}) for name, given in (config.secrets or {}).items()]
    tokens = {host: access.token for host, access in config.git.items() if access.token is not None}
    wanted += [(f"$.git.{host}.token", {"token": token}) for host, token in tokens.items()]
    problems = []
    for where, given in wanted:
        try:
            for reference in secret_references(given).values():
                SecretResolver().resolve(reference)
        except ConfigError as error:  # a `SecretError`, or no reference at all
            found = error.problems or [error]
            problems += [Problem(each.message, where=config.place(where), hint=each.hint) for each in found]
    return problems + missing_keys(config)


def missing_keys(config: AgentConfig) -> list[Problem]:
    """Ssh keys of the configuration that are not there."""
    keys = {host: Path(given.ssh_key).expanduser() for host, given in config.git.items() if given.ssh_key}
    return [
        Problem(
            f"the key {key} cannot be read", where=config.place(f"$.git.{host}.ssh-key"), hint="Check path and mode."
        )
        for host, key in keys.items()
        if not (key.is_file() and os.access(key, os.R_OK))
    ]
