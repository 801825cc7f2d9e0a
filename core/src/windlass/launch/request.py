"""What a user asks for: the options of ``windlass launch`` and the file given with ``-c``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import field, frozen

from windlass.config.converter import structure_most
from windlass.config.document import Document, load, loads
from windlass.config.options import option
from windlass.errors import ConfigError, Problem, UsageError
from windlass.launch.paths import KeyPath, covered, dotted, parse_path, set_path
from windlass.launch.templates import parse_assignment
from windlass.models import JSON
from windlass.models.launch import LaunchPolicy, Priority

if TYPE_CHECKING:
    from windlass.launch.git import GitAccess

__all__ = ["LaunchRequest", "Overrides", "load_overrides", "parse_priority", "parse_resource_args", "parse_sets",
           "parse_variables", "split_command"]  # fmt: skip


@frozen(kw_only=True)
class LaunchRequest:
    """A launch as it was typed. Exactly one of `uri`, `image` and `job` is given.

    Attributes:
        uri: ``-u``: directory, script or git URI.
        image: ``-d``: container image.
        job: ``-j``: job artifact, ``[[entity/]project/]name[:alias]``.
        build_context: Sub-directory that is the build context.
        dockerfile: Dockerfile, relative to the build context.
        base_image: Base of a generated Dockerfile.
        entry_point: ``-E``: command line, or its words.
        git_hash: ``-g``: branch, tag or commit.
        python: ``-r`` of ``job create``: Python version ``3.N``; empty: found in the source.
        job_name: ``-J``: name of the job that is made.
        entity, project: ``-e``, ``-p``: where the run belongs; the settings' by default.
        name: ``--name``: display name of the run.
        queue: ``-q``: ``[entity/]name``; empty: run here and now, on a queue of its own.
        overrides: ``-c``: YAML or JSON file; see `Overrides`.
        template_values: ``-v``: ``NAME=VALUE`` texts, or a mapping.
        priority: ``-P``: ``critical``, ``high``, ``medium``, ``low`` (or 0 to 3).
        resource: ``-r``: runner.
        resource_args: ``-R``: JSON text, path of a YAML or JSON file, or a mapping.
        set: ``--set``: ``path.to.key=value`` texts, laid over the run config.
        args: Further arguments for the entry point.
        run_config: Values laid over the run's config.
        files: Values laid over config files.
        env: Environment variables.
        policy: Limits and retries.
        depends_on: Ids of runs that must finish first.
        run_id: Chosen by the caller, so that a repeated submission does not run twice. Empty: a fresh one.
        author: Who asks; empty: whom the store takes us for.
        git_access: How to sign in at git hosts, by host name; at others git's own helpers and keys do.
        description: Of the job that is made.
        aliases: Of the job that is made.
    """

    uri: str = ""
    image: str = ""
    job: str = ""
    build_context: str = ""
    dockerfile: str = ""
    base_image: str = ""
    entry_point: str | tuple[str, ...] = ()
    git_hash: str = ""
    python: str = ""
    job_name: str = ""
    entity: str = ""
    project: str = ""
    name: str = ""
    queue: str = ""
    overrides: str | Path = ""
    template_values: tuple[str, ...] | Mapping[str, JSON] = ()
    priority: str | int | None = None
    resource: str = ""
    resource_args: str | Path | Mapping[str, JSON] = ""
    set: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    run_config: Mapping[str, JSON] = field(factory=dict)
    files: Mapping[str, JSON] = field(factory=dict)
    env: Mapping[str, str] = field(factory=dict)
    policy: LaunchPolicy = LaunchPolicy()
    depends_on: tuple[str, ...] = ()
    run_id: str = ""
    author: str = ""
    git_access: Mapping[str, GitAccess] = field(factory=dict, repr=False)
    description: str = ""
    aliases: tuple[str, ...] = ()


@frozen(kw_only=True)
class Overrides:
    """The file of ``windlass launch -c``."""

    args: tuple[str, ...] = option(default=(), help="Arguments behind the entry point.")
    run_config: dict[str, JSON] = option(factory=dict, help="Values laid over the run's config.")
    entry_point: tuple[str, ...] = option(default=(), help="Replaces the entry point; a command line or its words.")
    files: dict[str, JSON] = option(factory=dict, help="Values laid over config files: {path: {key: value}}.")
    env: dict[str, str] = option(factory=dict, help="Environment variables, as far as the queue allows them.")
    resource_args: dict[str, JSON] = option(
        factory=dict, help="In the resource's own words, as far as the queue allows."
    )
    template_values: dict[str, JSON] = option(factory=dict, help="Values of the queue's template fields.")
    policy: LaunchPolicy = option(default=LaunchPolicy(), help="Limits and retries within the queue's bounds.")
    priority: str = option(default="", help="critical, high, medium or low.")
    dockerfile: str = option(default="", help="Dockerfile, relative to the build context.")
    build_context: str = option(default="", help="Sub-directory that is the build context.")
    base_image: str = option(default="", help="Base of a generated Dockerfile.")
    depends_on: tuple[str, ...] = option(default=(), help="Ids of runs that must finish first.")
    secrets: dict[str, JSON] = option(
        factory=dict, help="Secret variables by reference, {NAME: env/NAME}: for runs here, or those the queue has."
    )


def load_overrides(source: str | Path) -> tuple[Overrides, Document, list[Problem]]:
    """Read an overrides file, or JSON text. A surrounding ``overrides:`` mapping is taken away.

    Returns:
        What fits of it, the file, for places, and the problems of what does not fit.

    Raises:
        ConfigError: It cannot be read, or is no mapping.
    """
    text = str(source)
    document = loads(text, "-c") if text.lstrip().startswith("{") else load(source)
    data = document.data
    if not isinstance(data, dict):
        raise ConfigError("expected a mapping", where=document.source, hint="e.g. run_config: {epochs: 3}")
    nested = data.get("overrides")
    if isinstance(nested, dict):
        moved = {f"$.{path.removeprefix('$.overrides.')}": line for path, line in document.lines.items()}
        data = {**{key: value for key, value in data.items() if key != "overrides"}, **nested}
        document = Document(data=data, source=document.source, lines={**moved, **document.lines})
    command, wrong = split_entry_point(data, document)
    found, problems = structure_most({**data, **command}, Overrides, document=document)
    return found or Overrides(), document, [*wrong, *problems]


def split_entry_point(
    data: Mapping[str, JSON], document: Document, where: str = "$"
) -> tuple[dict[str, JSON], list[Problem]]:
    """The words of an ``entry_point`` that is written as one text, and what is wrong with it."""
    command = data.get("entry_point")
    if not isinstance(command, str):
        return {}, []
    try:
        return {"entry_point": split_command(command, document.place(f"{where}.entry_point"))}, []
    except UsageError as error:
        return {"entry_point": []}, [Problem(error.message, where=error.where, hint=error.hint)]


def split_command(command: str | tuple[str, ...] | list[str], where: str = "--entry-point") -> list[str]:
    """The words of a command. Raises `UsageError` for unbalanced quotes, empty words and NUL characters."""
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise UsageError(
            f"{command!r} cannot be split into words: {str(error).lower()}", where=where, hint="Close all quotes."
        ) from None
    if any("\x00" in word for word in words) or (words and not words[0]) or (command and not words):
        raise UsageError("the command has an empty program or a NUL character", where=where, hint='e.g. "python a.py"')
    return words


def parse_priority(value: str | int | None) -> Priority | None:
    """A priority by name or number; None when none was given. Raises `UsageError`."""
    if value is None or value == "":
        return None
    names = {member.name.lower(): member for member in Priority} | {str(member.value): member for member in Priority}
    found = names.get(str(value).strip().lower())
    if found is None or isinstance(value, bool):
        raise UsageError(f"unknown priority {value!r}", where="--priority", hint="critical, high, medium or low.")
    return found


def parse_resource_args(value: str | Path | Mapping[str, JSON]) -> dict[str, JSON]:
    """``-R``: a mapping, JSON text, or the path of a YAML or JSON file. Raises `ConfigError`."""
    if isinstance(value, Mapping):
        return dict(value)
    text = str(value)
    if not text.strip():
        return {}
    if text.lstrip().startswith("{"):
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"not well-formed JSON: {error.msg} at column {error.colno}",
                where="--resource-args",
                hint="Give a JSON object or the path of a file.",
            ) from None
        except RecursionError:
            raise ConfigError("nested too deeply", where="--resource-args", hint="Simplify it.") from None
        return dict(data)
    document = load(text)
    if not isinstance(document.data, dict):
        raise ConfigError("expected a mapping", where=document.source, hint="e.g. {memory: 4g}")
    return document.data


def parse_variables(given: tuple[str, ...] | Mapping[str, JSON]) -> tuple[dict[str, JSON], list[Problem]]:
    """``-v`` options as a mapping, and those that are not of the form ``NAME=VALUE`` or come twice."""
    if isinstance(given, Mapping):
        return dict(given), []
    values: dict[str, JSON] = {}
    problems = []
    for text in given:
        parsed = parse_assignment(text, "--set-var")
        if isinstance(parsed, Problem):
            problems.append(parsed)
        elif parsed[0] in values:
            problems.append(Problem(f"'{parsed[0]}' is given twice", where="--set-var", hint="leave one out"))
        else:
            values[parsed[0]] = parsed[1]
    return values, problems


def parse_sets(texts: tuple[str, ...]) -> tuple[dict[str, JSON], list[Problem]]:
    """``--set path.to.key=value`` options as a tree; values are read as YAML (``1e-3`` is a number)."""
    tree: dict[str, JSON] = {}
    problems = []
    seen: list[KeyPath] = []
    for text in texts:
        parsed = parse_assignment(text, "--set")
        if isinstance(parsed, Problem):
            problems.append(Problem(parsed.message, where="--set", hint="e.g. --set trainer.learning_rate=0.1"))
            continue
        try:
            path = parse_path(parsed[0], "--set")
            value = _value(parsed[1])
        except (UsageError, ConfigError) as error:
            found = error.problems[0] if isinstance(error, ConfigError) and error.problems else error
            problems.append(Problem(f"{text!r}: {found.message}", where="--set", hint=found.hint))
            continue
        clash = next((o for o in seen if o != path and (covered(path, [o]) or covered(o, [path]))), None)
        if clash is not None:  # one is a value and the other would be a key below it
            message = f"'{dotted(path)}' and '{dotted(clash)}' cannot both be set"
            problems.append(Problem(message, where="--set", hint="leave one out"))
            continue
        seen.append(path)
        set_path(tree, path, value)
    return tree, problems


def _value(text: str) -> JSON:
    """What a text stands for in YAML. A {{place}} for what a trigger fills in is no mapping in a mapping."""
    if not text.strip() or text.lstrip().startswith("{{"):
        return text.strip()
    return cast(JSON, loads(text, "--set").data)
