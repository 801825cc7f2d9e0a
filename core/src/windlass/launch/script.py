"""Scripts that carry their own settings: the ``# /// script`` comment of PEP 723.

Beside ``requires-python`` and ``dependencies`` it may hold a table ``[tool.windlass]``, e.g. ``queue = "gpu"``,
``resource_args = {memory = "4g"}`` and ``secrets = {HF_TOKEN = "env/HF_TOKEN"}``; see `ScriptSettings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from windlass.config.converter import structure_most
from windlass.config.document import Document, loads_toml
from windlass.config.options import option
from windlass.errors import ConfigError, Problem, counted
from windlass.launch.places import toml_lines
from windlass.launch.request import LaunchRequest, Overrides, split_entry_point
from windlass.launch.safe import read_text

__all__ = ["TABLE", "ScriptHeader", "ScriptSettings", "read_header", "script_header", "script_of", "script_settings",
           "with_script"]  # fmt: skip

_FIRST, _LAST = re.compile(r"# /// ([a-zA-Z0-9-]+)[ \t]*"), re.compile(r"# ///[ \t]*")
TABLE = "$.tool.windlass"
"""Where Windlass's own settings stand in a header."""
_OF_REQUEST = ("entity", "project", "name", "job_name", "resource")


@frozen(kw_only=True)
class ScriptSettings(Overrides):
    """``[tool.windlass]``: what a launch of the script uses unless a flag or an overrides file says otherwise."""

    queue: str = option(default="", help="Queue. Not used when a flag names a resource.")
    resource: str = option(default="", help="Runner, for launches without a queue.")
    entity: str = option(default="", help="Owner of the run.")
    project: str = option(default="", help="Name space of the run.")
    name: str = option(default="", help="Display name of the run.")
    job_name: str = option(default="", help="Name of the job that is made.")
    python: str = option(default="", help="Python version, e.g. 3.12. Default: from requires-python.")
    dependencies: tuple[str, ...] = option(default=(), help="Beside those of the header itself.")


@frozen(kw_only=True)
class ScriptHeader:
    """What the comment says.

    Attributes:
        dependencies: Requirements; None when it does not speak of any.
        requires_python: Version specifier, or empty.
        settings: ``[tool.windlass]``.
        document: The comment, for the lines of the script on which its values stand.
    """

    dependencies: tuple[str, ...] | None = None
    requires_python: str = ""
    settings: ScriptSettings = field(factory=ScriptSettings)
    document: Document = field(factory=lambda: Document(data={}))


def read_header(text: str, where: str) -> ScriptHeader | None:
    """The header of a script; None if it has none.

    Raises:
        ConfigError: It is not well formed, or holds unknown keys; all problems, with the script's lines.
    """
    text = text.replace("\r\n", "\n")
    blocks = [(start, lines) for kind, start, lines in _blocks(text.split("\n")) if kind == "script"]
    if not blocks:
        return None
    if len(blocks) > 1:
        raise ConfigError(
            "the script has two '# /// script' comments", where=f"{where}:{blocks[1][0] - 1}", hint="Leave one."
        )
    ((start, lines),) = blocks
    content = "\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    try:
        data = loads_toml(content, "")
    except ConfigError as error:
        number = start + int(error.where.rpartition(":")[2] or 1) - 1
        raise ConfigError(
            f"the '# /// script' comment is {error.message}", where=f"{where}:{number}", hint="See PEP 723."
        ) from None
    places = toml_lines(content, start)
    places = {path.replace("-", "_"): line for path, line in places.items() if path.startswith(TABLE)} | places
    return _header(Document(data=_plain(data), source=where, lines=places))


def _blocks(lines: list[str]) -> Iterator[tuple[str, int, list[str]]]:
    """Type, number of the first line and lines of each block: what the pattern in PEP 723 finds, in one pass."""
    at = 0
    while at < len(lines):
        first = _FIRST.fullmatch(lines[at])
        at, last = at + 1, 0
        if first is None:
            continue
        begin = at
        while at < len(lines) and (lines[at] == "#" or lines[at].startswith("# ")):
            if at > begin and _LAST.fullmatch(lines[at]):
                last = at
            at += 1
        if last:
            yield first[1], begin + 1, lines[begin:last]
            at = last + 1


def _header(document: Document) -> ScriptHeader:
    declared, requires = document.data.get("dependencies"), document.data.get("requires-python", "")
    problems = []
    if declared is not None and not (isinstance(declared, list) and all(isinstance(x, str) for x in declared)):
        problems.append(Problem("expected a list of texts", document.place("$.dependencies"), '["numpy>=2"]'))
    if not isinstance(requires, str):
        problems.append(Problem("expected a text", document.place("$.requires-python"), '">=3.11"'))
    tool = document.data.get("tool") or {}
    settings, wrong = _settings(tool.get("windlass") or {} if isinstance(tool, dict) else {}, document)
    problems += wrong
    if problems:
        raise ConfigError(
            f"{counted(problems)} in the '# /// script' comment", where=document.source, problems=problems
        )
    if settings.dependencies:
        declared = [*(declared or ()), *settings.dependencies]
    return ScriptHeader(
        dependencies=None if declared is None else tuple(declared), requires_python=requires, settings=settings,
        document=document,
    )  # fmt: skip


def _settings(table: Any, document: Document) -> tuple[ScriptSettings, list[Problem]]:
    if not isinstance(table, dict):
        return ScriptSettings(), [Problem("expected a table", document.place(TABLE), "[tool.windlass]")]
    for key in [key for key in table if "-" in key]:
        table[key.replace("-", "_")] = table.pop(key)
    command, wrong = split_entry_point(table, document, TABLE)
    settings, problems = structure_most({**table, **command}, ScriptSettings, where=TABLE, document=document)
    return settings or ScriptSettings(), [*wrong, *problems]


def _plain(value: Any) -> Any:
    """TOML as JSON has it: dates and times as texts."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, (date, time)) else value


def script_header(root: Path, command: Iterable[str]) -> ScriptHeader | None:
    """The header of the script that a command starts, read from a source; None if there is no such script.

    Raises:
        ConfigError: See `read_header`.
    """
    name = next((word for word in command if word.endswith(".py")), "")
    text = read_text(root, name) if name and not name.startswith("/") else None
    return read_header(text, name) if text is not None else None


def script_settings(request: LaunchRequest) -> ScriptSettings:
    """What the script that a request names says about its launch; nothing for other requests. Raises `ConfigError`."""
    return script_of(request).settings


def script_of(request: LaunchRequest) -> ScriptHeader:
    """The header of the script that a request names; an empty one for other requests.

    Raises:
        ConfigError: See `read_header`.
    """
    path = Path(request.uri).expanduser() if request.uri.endswith(".py") and "://" not in request.uri else None
    if path is None or not path.is_file():
        return ScriptHeader()
    try:
        header = read_header(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError):
        return ScriptHeader()  # it is refused, or taken as it is, when it is packaged
    return header or ScriptHeader()


def with_script(request: LaunchRequest) -> LaunchRequest:
    """The request with queue, resource and names from its script, where it has none itself. May be repeated.

    Raises:
        ConfigError: See `read_header`.
    """
    found = script_settings(request)
    changes = {name: getattr(found, name) for name in _OF_REQUEST if not getattr(request, name)}
    if not request.queue and not request.resource:
        changes["queue"] = found.queue
    if request.queue or changes.get("queue"):
        changes.pop("resource", None)
    return evolve(request, **{name: value for name, value in changes.items() if value})
