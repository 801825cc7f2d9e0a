"""Config files of a job: reading them, and writing values into them without losing comments.

JSON needs nothing, YAML is edited in place, TOML needs the package ``tomlkit``. An edit is read back and compared
before it replaces the file.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from windlass.config.document import loads, loads_json, loads_toml
from windlass.errors import ConfigError, UnsupportedError, UsageError
from windlass.launch.paths import merge
from windlass.launch.yaml_edit import new_yaml, patch_yaml, without_aliases
from windlass.models import JSON

__all__ = ["patch_file", "read_config"]

_log = logging.getLogger("windlass")

_SUFFIXES = (".json", ".yaml", ".yml", ".toml")


def read_config(path: Path) -> dict[str, JSON]:
    """Content of a JSON, YAML or TOML file. Dates and times are texts in YAML, objects of `datetime` in TOML.

    Raises:
        UsageError: Another kind of file.
        ConfigError: No such file, not well formed, or no mapping.
    """
    if path.suffix not in _SUFFIXES:
        raise UsageError(
            f"config files end with {', '.join(_SUFFIXES)}", where=str(path), hint="Convert it to one of these."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError("the file does not exist", where=str(path), hint="Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from None
    data = _parse(text, path)
    if not isinstance(data, dict):
        raise ConfigError("expected a mapping", where=str(path), hint="Its keys are the inputs.")
    return data


def _parse(text: str, path: Path) -> Any:
    if path.suffix == ".toml":
        return loads_toml(text, str(path))
    if path.suffix == ".json":
        return loads_json(text, str(path))
    return loads(text, str(path)).data


def patch_file(path: Path, values: Mapping[str, JSON]) -> None:
    """Lay values over a config file: mappings are merged, everything else is replaced. In one step.

    Line ends stay what they are, a byte order mark goes. Comments of YAML and TOML stay; aliases of YAML are written
    out when a value that several places share changes in one of them. A YAML file in which values cannot be put in
    place is written anew, without comments, and a warning says so.

    Raises:
        UnsupportedError: A TOML file, and ``tomlkit`` is not installed.
        ConfigError: See `read_config`.
    """
    wanted = merge(read_config(path), values)
    text = path.read_text(encoding="utf-8-sig")
    ends = "\r\n" if b"\r\n" in path.read_bytes() else "\n"
    if path.suffix == ".json":
        indent = re.search(r"^([ \t]+)\"", text, re.MULTILINE)
        new = json.dumps(wanted, indent=indent.group(1) if indent else None, ensure_ascii=False) + "\n"
    elif path.suffix == ".toml":
        new = _patch_toml(text, values, path)
    else:
        new = _patch_yaml(text, values, wanted, path)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline=ends) as out:
            out.write(new)
        os.chmod(partial, path.stat().st_mode & 0o777)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def _patch_yaml(text: str, values: Mapping[str, JSON], wanted: JSON, path: Path) -> str:
    goal = _comparable(wanted)
    if _again(new := patch_yaml(text, values), path) == goal:
        return new
    if _again(new := patch_yaml(without_aliases(text), values), path) == goal:
        return new
    _log.warning("%s: the launch's values cannot be put in place; it was written anew, without its comments", path.name)
    return new_yaml(wanted, text)


def _again(text: str, path: Path) -> str:
    try:
        return _comparable(_parse(text, path))
    except ConfigError:
        return ""


def _comparable(value: JSON) -> str:
    """A text that two equal values have; NaN would not be equal to itself."""
    return json.dumps(value, sort_keys=True)


def _patch_toml(text: str, values: Mapping[str, JSON], path: Path) -> str:
    try:
        import tomlkit
    except ImportError:
        raise UnsupportedError(
            "writing TOML files needs the package tomlkit",
            where=str(path),
            hint="pip install 'windlass-core[toml]' where the job runs.",
        ) from None
    document = tomlkit.parse(text)

    def lay(into: Any, over: Mapping[str, JSON]) -> None:
        for key, value in over.items():
            if isinstance(value, Mapping) and isinstance(into.get(key), Mapping):
                lay(into[key], value)
            elif value is None:
                raise ConfigError("TOML has no null", where=f"{path}: {key}", hint="Give another value.")
            else:
                into[key] = _dated(value, into.get(key), f"{path}: {key}")

    lay(document, values)
    return tomlkit.dumps(document)


def _dated(value: JSON, old: Any, where: str) -> Any:
    """A value in place of an old one: what was a date or time stays one, as the code that reads it expects."""
    if isinstance(old, list) and isinstance(value, list) and old:
        return [_dated(item, old[0], where) for item in value]
    kind = next((kind for kind in (datetime, date, time) if isinstance(old, kind)), None)
    if kind is None:
        return value
    word = {datetime: "date and time", date: "date", time: "time"}[kind]
    example = {datetime: "2026-01-31T10:30:00Z", date: "2026-01-31", time: "10:30:00"}[kind]
    try:
        return kind.fromisoformat(value)
    except (TypeError, ValueError):
        raise ConfigError(f"expected a {word}, got {value!r}", where=where, hint=f"Write it as {example}.") from None
