"""How inputs reach the code of a job.

The launch puts overrides into the job's environment: the run config as JSON in ``WINDLASS_CONFIG``, files as
``{path: {key: value}}`` in ``WINDLASS_LAUNCH_FILE_OVERRIDES``. Long texts are cut into ``NAME_0``, ``NAME_1`` …
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from windlass.errors import ConfigError, Problem
from windlass.models import JSON

__all__ = ["CONFIG_VARIABLE", "FILES_VARIABLE", "joined", "read_file_overrides", "read_overrides", "shards"]

CONFIG_VARIABLE = "WINDLASS_CONFIG"
FILES_VARIABLE = "WINDLASS_LAUNCH_FILE_OVERRIDES"
_SHARD = 32_000


def shards(name: str, text: str, size: int = _SHARD) -> dict[str, str]:
    """A text as one variable, or cut into numbered ones of at most `size` characters (systems limit their length)."""
    if len(text) <= size:
        return {name: text}
    return {f"{name}_{i}": text[start : start + size] for i, start in enumerate(range(0, len(text), size))}


def joined(env: Mapping[str, str], name: str) -> str:
    """The text that `shards` put into variables; empty if there is none."""
    if name in env:
        return env[name]
    parts: list[str] = []
    while (part := env.get(f"{name}_{len(parts)}")) is not None:
        parts.append(part)
    return "".join(parts)


def read_overrides(env: Mapping[str, str]) -> dict[str, JSON]:
    """Values for the run config that the launch gave (``launch.load_windlass_config``). Raises `ConfigError`."""
    return _object(env, CONFIG_VARIABLE)


def read_file_overrides(env: Mapping[str, str]) -> dict[str, dict[str, JSON]]:
    """Values for config files that the launch gave, by path. Raises `ConfigError`."""
    found: dict[str, dict[str, JSON]] = _object(env, FILES_VARIABLE)
    wrong = [Problem("expected a mapping", where=f"$.{path}") for path, v in found.items() if not isinstance(v, dict)]
    if wrong:
        raise ConfigError("the file overrides do not fit", where=FILES_VARIABLE, problems=wrong)
    return found


def _object(env: Mapping[str, str], name: str) -> dict[str, JSON]:
    text = joined(env, name)
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not well-formed JSON: {error}", where=name, hint="Give a JSON object.") from None
    if not isinstance(value, dict):
        raise ConfigError("expected a JSON object", where=name, hint='e.g. {"epochs": 3}')
    return value
