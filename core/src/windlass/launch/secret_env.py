"""Secret variables of a job: references by name until the agent hands the values to the runner.

The queue's owner writes them into the queue's config, under ``secrets`` or in its ``env``::

    secrets: {HF_TOKEN: {secret: env/HF_TOKEN}}
    env: [SEED=1, {API_KEY: {secret: file//etc/windlass/key}}]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from windlass.config.secrets import SecretResolver, is_reference
from windlass.errors import ConfigError, Problem
from windlass.models import JSON

__all__ = ["SECRETS_KEY", "resolve_secrets", "secret_references", "take_secrets"]

SECRETS_KEY = "secrets"
"""Key of a queue's config that is not handed to the resource: ``{NAME: {secret: env/NAME}}``."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HINT = "NAME: {secret: env/NAME}"


def secret_references(given: Any, where: str = f"$.{SECRETS_KEY}") -> dict[str, str]:
    """Names and references of ``{NAME: {secret: env/NAME}}`` or ``{NAME: env/NAME}``.

    Raises:
        ConfigError: All that does not fit.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError("expected a mapping", where=where, hint=_HINT)
    found, problems = {}, []
    for name, value in given.items():
        reference = value["secret"] if is_reference(value) else value
        if not _NAME.fullmatch(str(name)):
            problems.append(Problem(f"{name!r} is no name of a variable", where=f"{where}.{name}", hint=_HINT))
        elif str(name).startswith("WINDLASS_"):
            problems.append(Problem(f"{name} is set by Windlass itself", where=f"{where}.{name}"))
        elif not isinstance(reference, str) or not re.fullmatch(r"[a-z][a-z0-9_-]*/.+", reference):
            problems.append(Problem("this is no secret reference", where=f"{where}.{name}", hint=_HINT))
        else:
            found[str(name)] = reference
    if problems:
        raise ConfigError("secrets do not fit", where=where, problems=problems)
    return found


def take_secrets(config: Mapping[str, JSON]) -> tuple[dict[str, JSON], dict[str, str]]:
    """Part a queue's config into what the resource is given, and its secret variables.

    Raises:
        ConfigError: See `secret_references`.
    """
    rest = dict(config)
    found = secret_references(rest.pop(SECRETS_KEY, None))
    env = rest.get("env")
    if isinstance(env, Mapping):
        inside = {name: value for name, value in env.items() if is_reference(value)}
        if inside:
            found |= secret_references(inside, "$.env")
            rest["env"] = [f"{name}={value}" for name, value in env.items() if name not in inside]
    elif isinstance(env, (list, tuple)):
        kept = []
        for i, entry in enumerate(env):
            if isinstance(entry, Mapping) and entry and all(is_reference(value) for value in entry.values()):
                found |= secret_references(entry, f"$.env[{i}]")
            else:
                kept.append(entry)
        if len(kept) != len(env):
            rest["env"] = kept
    return rest, found


def resolve_secrets(references: Mapping[str, str], secrets: SecretResolver | None = None) -> dict[str, str]:
    """The values, for the runner's secret mechanism alone. Called by the agent right before it submits.

    Raises:
        SecretError: A reference leads nowhere; names the variable, never a value.
    """
    resolver = secrets or SecretResolver()
    return {name: resolver.resolve(ref, where=f"the secret {name}").reveal() for name, ref in references.items()}
