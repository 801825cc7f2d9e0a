"""Inputs of a job: which values may be set, and of which type. How they reach the code is told in `overrides`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from windlass.errors import ConfigError, Problem, UsageError
from windlass.launch.checks import number_problems
from windlass.launch.overrides import (
    CONFIG_VARIABLE,
    FILES_VARIABLE,
    joined,
    read_file_overrides,
    read_overrides,
    shards,
)
from windlass.launch.paths import dotted, leaves, parse_paths, select
from windlass.launch.schema import infer_schema, infer_types, restricted, schema_of, validate
from windlass.models import JSON

__all__ = [
    "CONFIG_KEY",
    "CONFIG_VARIABLE",
    "FILES_VARIABLE",
    "InputRow",
    "ManagedFile",
    "check_overrides",
    "input_rows",
    "inputs_of",
    "joined",
    "managed_config",
    "managed_file",
    "read_file_overrides",
    "read_overrides",
    "shards",
]

CONFIG_KEY = "@windlass.config"
"""Key of the run config in `JobSpec.input_schemas` and `JobSpec.input_types`; files lie below ``files``."""
_UNKNOWN = object()


@frozen(kw_only=True)
class Managed:
    """Inputs that the code declared.

    Attributes:
        types: Inferred types, nested as the config is (``{"trainer": {"epochs": "int"}}``).
        schema: JSON Schema of the values that may be set.
    """

    types: dict[str, JSON]
    schema: dict[str, JSON]


def managed_config(
    config: Mapping[str, JSON],
    include: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    schema: object = None,
) -> Managed:
    """What ``launch.manage_windlass_config`` declares: the part of the run config that may be set.

    Args:
        config: The run config, or the content of a file.
        include: Path prefixes; None or empty includes all.
        exclude: Path prefixes that are left out even when included.
        schema: JSON Schema as a dict, or an attrs class, dataclass or Pydantic model; None infers one.

    Raises:
        UsageError: A path that cannot be read; a schema of an unknown kind.
        ConfigError: A schema with mistakes; all of them.
    """
    wanted, unwanted = parse_paths(include, "include"), parse_paths(exclude, "exclude")
    chosen = select(config, wanted, unwanted)
    made = infer_schema(chosen) if schema is None else restricted(schema_of(schema), wanted, unwanted)
    return Managed(types=infer_types(chosen), schema=made)


@frozen(kw_only=True)
class ManagedFile(Managed):
    """A config file with inputs.

    Attributes:
        path: Relative to the code's directory, with forward slashes.
        content: The content after the launch's values were put in.
    """

    path: str
    content: dict[str, JSON]


def managed_file(
    path: str,
    include: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    schema: object = None,
    *,
    root: Path,
    overrides: Mapping[str, Mapping[str, JSON]],
) -> ManagedFile:
    """What ``launch.manage_config_file`` does: checks the launch's values for a file and writes them into it.

    Comments of YAML and TOML files are kept. The file is replaced in one step.

    Args:
        path: JSON, YAML or TOML file relative to `root`.
        include: See `managed_config`.
        exclude: See `managed_config`.
        schema: See `managed_config`.
        root: Directory of the code (the job's private copy).
        overrides: From `read_file_overrides`.

    Raises:
        UsageError: The path is not relative, or the file has another kind.
        ConfigError: No such file, not well formed, or values that do not fit the schema or are not inputs.
    """
    from windlass.launch.files import patch_file, read_config
    from windlass.launch.safe import relative_problem

    name = Path(path).as_posix()
    if problem := relative_problem(name):
        raise UsageError(f"{path!r}: {problem}", where="manage_config_file", hint="Give a path relative to the code.")
    file = root / name
    content = read_config(file)
    declared = managed_config(content, include, exclude, schema)
    values = overrides.get(name) or {}
    if values:
        allowed = select(values, parse_paths(include), parse_paths(exclude))
        closed = sorted({dotted(p) for p, _ in leaves(values)} - {dotted(p) for p, _ in leaves(allowed)})
        problems = [Problem("this is no input of the job", where=f"{name}: $.{text}") for text in closed]
        problems += validate(values, declared.schema, f"{name}: $")
        if problems:
            raise ConfigError("values for a config file do not fit", where=name, problems=problems)
        patch_file(file, values)
        content = read_config(file)
    return ManagedFile(path=name, content=content, types=declared.types, schema=declared.schema)


def check_overrides(
    schemas: Mapping[str, JSON], run_config: Mapping[str, JSON], files: Mapping[str, JSON]
) -> list[Problem]:
    """What is wrong with values for a job's inputs: in themselves, and by the schemas that the job recorded if any."""
    problems = [*number_problems(run_config, "$.run_config"), *number_problems(files, "$.files")]
    if not schemas:
        return problems
    file_schemas = schemas.get("files") or {}
    if CONFIG_KEY in schemas:
        problems += validate(run_config, schemas[CONFIG_KEY], "$.run_config")
    elif run_config and file_schemas:
        known = ", ".join(file_schemas)
        hint = f"call launch.manage_windlass_config() in the code, too; or set files in an overrides file: {known}"
        problems.append(Problem("the job declares config files, not its run config", where="$.run_config", hint=hint))
    for path, values in files.items():
        place = f"$.files.{path}"
        if not isinstance(values, Mapping):
            problems.append(Problem("expected a mapping", where=place, hint="{key: value}"))
        elif path in file_schemas:
            problems += validate(values, file_schemas[path], place)
        elif file_schemas:
            problems.append(Problem("the job has no such config file", where=place, hint=", ".join(file_schemas)))
    return problems


def inputs_of(config: Mapping[str, JSON], notes: Mapping[str, JSON]) -> tuple[dict[str, JSON], dict[str, JSON]]:
    """Schemas and types of a run's inputs: what its code declared, else all of its config.

    A config that nobody declared bounds no keys, and whole numbers may become fractions.
    """
    schemas, types = notes.get("input_schemas") or {}, notes.get("input_types") or {}
    if schemas or types or not config:
        return dict(schemas), dict(types)
    return {CONFIG_KEY: _open(infer_schema(config))}, {CONFIG_KEY: infer_types(config)}


def _open(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    loose = {key: _open(value) for key, value in schema.items()}
    if loose.get("type") == "object":
        loose["additionalProperties"] = True
        loose["properties"] = {key: _open(value) for key, value in schema.get("properties", {}).items()}
    elif loose.get("type") == "integer":
        loose["type"] = "number"
    return loose


@frozen(kw_only=True)
class InputRow:
    """One input, for people.

    Attributes:
        file: Config file, empty for the run config.
        path: Dotted path.
        type: ``int``, ``float``, ``str`` …
        description, bounds: From the schema, empty if it does not say.
        default: From the schema, else what the run had that the job was found out from; empty if that is not known.
    """

    file: str
    path: str
    type: str
    description: str = ""
    default: str = ""
    bounds: str = ""


def input_rows(
    schemas: Mapping[str, JSON], types: Mapping[str, JSON], values: Mapping[str, JSON] | None = None
) -> tuple[InputRow, ...]:
    """A job's inputs as a table; `values` are those of the run config where nobody sets others."""
    from windlass.launch.schema import at_path, bounds_text, type_word

    parts: list[tuple[str, Mapping[str, JSON], Mapping[str, JSON]]] = []
    parts.append(("", schemas.get(CONFIG_KEY) or {}, types.get(CONFIG_KEY) or {}))
    by_file, kinds_by_file = schemas.get("files") or {}, types.get("files") or {}
    parts += [(file, by_file.get(file, {}), kinds_by_file.get(file, {})) for file in {**by_file, **kinds_by_file}]
    rows = []
    for file, schema, kinds in parts:
        listed = dict(leaves(kinds)) or dict.fromkeys(_schema_leaves(schema), "")
        known = dict(leaves(values or {})) if not file else {}
        for path, kind in listed.items():
            part = at_path(schema, path)
            default = part.get("default", known.get(path, _UNKNOWN))
            rows.append(
                InputRow(
                    file=file,
                    path=dotted(path),
                    type=type_word(part) or str(kind or ""),
                    description=str(part.get("description") or part.get("title") or ""),
                    default="" if default is _UNKNOWN else json.dumps(default, ensure_ascii=False, default=str),
                    bounds=bounds_text(part),
                )
            )
    return tuple(rows)


def _schema_leaves(schema: Mapping[str, JSON], above: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    for key, part in (schema.get("properties") or {}).items():
        if part is False:
            continue
        if isinstance(part, Mapping) and part.get("properties"):
            yield from _schema_leaves(part, (*above, key))
        else:
            yield (*above, key)
