"""What a submitter may not send: fields the owner did not open, reserved variables, secret references."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from windlass.config.secrets import is_reference
from windlass.errors import Problem
from windlass.launch.paths import covered, dotted, leaves, parse_path
from windlass.launch.safe import relative_problem
from windlass.models import JSON

if TYPE_CHECKING:
    from windlass.models.queue import Queue

__all__ = [
    "closed_fields",
    "env_problems",
    "file_problems",
    "number_problems",
    "open_field_problems",
    "secret_name_problems",
    "secret_problems",
]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("WINDLASS_",)


def open_field_problems(fields: tuple[str, ...], where: str = "$.open_fields") -> list[Problem]:
    """What is wrong with a queue's list of open fields."""
    from windlass.errors import UsageError

    problems = []
    for i, text in enumerate(fields):
        place = f"{where}[{i}]"
        try:
            path = parse_path(text)
        except UsageError as error:
            problems.append(Problem(error.message, where=place, hint=error.hint))
            continue
        if path[0] not in ("resource_args", "env") or (path[0] == "env" and len(path) > 2):
            hint = "e.g. resource_args.memory, env.SEED, env or resource_args"
            problems.append(Problem(f"{text!r} is no field that can be opened", where=place, hint=hint))
    return problems


def closed_fields(resource_args: Mapping[str, JSON], env: Mapping[str, str], queue: Queue) -> list[Problem]:
    """Values at paths that the queue's owner did not open for submitters."""
    opened = [parse_path(text) for text in queue.open_fields]
    wanted = [("resource_args", *path) for path, _ in leaves(resource_args)] + [("env", name) for name in env]
    hint = f"open fields: {', '.join(queue.open_fields) or 'none'}; ask the queue's owner"
    return [
        Problem(f"the queue '{queue.name}' does not let submitters set this", where=f"$.{dotted(path)}", hint=hint)
        for path in wanted
        if not covered(path, opened)
    ]


def file_problems(files: Mapping[str, JSON], schemas: Mapping[str, JSON], where: str = "$.files") -> list[Problem]:
    """Values for config files that no run could take.

    Args:
        files: By path.
        schemas: Of an existing job's inputs; empty when they are not known yet.
        where: Place of `files`.
    """
    problems = []
    for path, content in files.items():
        place = f"{where}.{path}"
        plain = PurePosixPath(path).as_posix()
        if wrong := relative_problem(path):
            hint = "give the path that the code gives to launch.manage_config_file"
            problems.append(Problem(f"{path!r}: {wrong}", where=place, hint=hint))
        elif plain != path:
            problems.append(Problem(f"{path!r} is not written as files are declared", where=place, hint=repr(plain)))
        elif schemas and not schemas.get("files"):
            hint = "the code declares them with launch.manage_config_file"
            problems.append(Problem("this job declares no config files", where=place, hint=hint))
        if not isinstance(content, Mapping):
            problems.append(Problem("expected a mapping", where=place, hint="{key: value}"))
    return problems


def env_problems(env: Mapping[str, str], where: str = "$.env") -> list[Problem]:
    """Variables with impossible names or values, and those that Windlass itself sets."""
    problems = []
    for name, value in env.items():
        place = f"{where}.{name}"
        if not _NAME.fullmatch(name):
            problems.append(Problem(f"{name!r} is no name of a variable", where=place, hint="letters, digits and _"))
        elif name.startswith(_RESERVED):
            problems.append(Problem(f"{name} is set by Windlass itself", where=place, hint="take another name"))
        if not isinstance(value, str):
            problems.append(Problem(f"expected a text, got {value!r}", where=place, hint="put it in quotes"))
        elif "\x00" in value:
            problems.append(Problem("the value holds a NUL character", where=place))
    return problems


def number_problems(node: JSON, where: str) -> list[Problem]:
    """Infinity and NaN in what a submitter sent: on the way to the job, which is JSON, they would become nothing."""
    if isinstance(node, float) and not math.isfinite(node):
        hint = 'JSON has no such number; leave it out, or give the text "inf" or "nan" and turn it into one in the code'
        return [Problem(f"{node!r} cannot be passed on", where=where, hint=hint)]
    found: list[Problem] = []
    if isinstance(node, Mapping):
        for key, value in node.items():
            found += number_problems(value, f"{where}.{dotted((str(key),))}")
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            found += number_problems(value, f"{where}[{i}]")
    return found


def secret_name_problems(wanted: Mapping[str, str], given: Mapping[str, str], queue: Queue) -> list[Problem]:
    """Secrets that a submitter asks for and the queue does not give.

    Args:
        wanted: The submitter's, by variable.
        given: The queue's own; asking for these is fine, and its references win.
        queue: A private one has ``secrets`` among its open fields, for who submits also owns it.
    """
    if "secrets" in queue.open_fields:
        return []
    hint = f"the queue gives: {', '.join(sorted(given)) or 'none'}; ask the queue's owner"
    return [
        Problem("a submitter cannot refer to the agent's secrets", where=f"$.secrets.{name}", hint=hint)
        for name in wanted
        if name not in given
    ]


def secret_problems(
    node: JSON, where: str = "$.resource_args", hint: str = "the queue's owner can write it into the queue's config"
) -> list[Problem]:
    """Secret references in what a submitter sent: they would be resolved with the agent's rights."""
    if is_reference(node):
        return [Problem("a submitter cannot refer to the agent's secrets", where=where, hint=hint)]
    found: list[Problem] = []
    if isinstance(node, Mapping):
        for key, value in node.items():
            found += secret_problems(value, f"{where}.{key}", hint)
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            found += secret_problems(value, f"{where}[{i}]", hint)
    return found
