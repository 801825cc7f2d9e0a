"""Inputs of a job: which values may be set, of which type, and how they reach the code.

The launch puts overrides into the job's environment: the run config as JSON in ``WINDLASS_CONFIG``, files as
``{path: {key: value}}`` in ``WINDLASS_LAUNCH_FILE_OVERRIDES``. Long texts are cut into ``NAME_0``, ``NAME_1`` …
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from windlass.errors import ConfigError, Problem, UsageError
from windlass.launch.paths import dotted, leaves, merge, parse_paths, select
from windlass.launch.schema import infer_types, schema_of, validate
from windlass.models.reason import JSON

__all__ = [
    "CONFIG_KEY",
    "CONFIG_VARIABLE",
    "FILES_VARIABLE",
    "InputRow",
    "ManagedFile",
    "check_overrides",
    "input_rows",
    "joined",
    "managed_config",
    "managed_file",
    "read_file_overrides",
    "read_overrides",
    "shards",
]

CONFIG_KEY = "@windlass.config"
"""Key of the run config in `JobSpec.input_schemas` and `JobSpec.input_types`; files lie below ``files``."""
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
    parts: list[tuple[str, Mapping[str, JSON], Mapping[str, JSON]]] = []
    parts.append(("", schemas.get(CONFIG_KEY) or {}, types.get(CONFIG_KEY) or {}))
    by_file, kinds_by_file = schemas.get("files") or {}, types.get("files") or {}
    parts += [(file, by_file.get(file, {}), kinds_by_file.get(file, {})) for file in {**by_file, **kinds_by_file}]
    rows = []
    for file, schema, kinds in parts:
        listed = dict(leaves(kinds)) or dict.fromkeys(_schema_leaves(schema), "")
        for path, kind in listed.items():
            part = at_path(schema, path)
            rows.append(
                InputRow(
                    file=file,
                    path=dotted(path),
                    type=type_word(part) or str(kind or ""),
                    description=str(part.get("description") or part.get("title") or ""),
                    default=json.dumps(part["default"]) if "default" in part else "",
                    bounds=bounds_text(part),
                )
            )
    return tuple(rows)


def _schema_leaves(schema: Mapping[str, JSON], above: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    for key, part in (schema.get("properties") or {}).items():
        if isinstance(part, Mapping) and part.get("properties"):
            yield from _schema_leaves(part, (*above, key))
        else:
            yield (*above, key)
