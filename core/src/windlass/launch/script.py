"""Scripts that carry their own settings: the ``# /// script`` comment of PEP 723.

Beside ``requires-python`` and ``dependencies`` it may hold a table ``[tool.windlass]``, e.g. ``queue = "gpu"``,
``resource_args = {memory = "4g"}`` and ``secrets = {HF_TOKEN = "env/HF_TOKEN"}``; see `ScriptSettings`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from windlass.config.converter import structure
from windlass.config.document import Document
from windlass.config.options import option
from windlass.errors import ConfigError
from windlass.launch.request import LaunchRequest, Overrides, split_command
from windlass.launch.safe import read_text

__all__ = ["ScriptHeader", "ScriptSettings", "read_header", "script_header", "script_settings", "with_script"]

_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)[ \t]*$\s(?P<content>(^#(| .*)$\s)+)^# ///[ \t]*$")
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
    """

    dependencies: tuple[str, ...] | None = None
    requires_python: str = ""
    settings: ScriptSettings = field(factory=ScriptSettings)


def read_header(text: str, where: str) -> ScriptHeader | None:
    """The header of a script; None if it has none.

    Raises:
        ConfigError: It is not well formed, or holds unknown keys.
    """
    blocks = [match for match in _BLOCK.finditer(text.replace("\r\n", "\n")) if match["type"] == "script"]
    if not blocks:
        return None
    if len(blocks) > 1:
        raise ConfigError("the script has two '# /// script' comments", where=where, hint="Leave one.")
    lines = blocks[0]["content"].splitlines()
    content = "\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    try:
        data = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the '# /// script' comment is no TOML: {error}", where=where, hint="See PEP 723.") from None
    declared, requires = data.get("dependencies"), data.get("requires-python", "")
    if declared is not None and not (isinstance(declared, list) and all(isinstance(x, str) for x in declared)):
        raise ConfigError("expected a list of texts", where=f"{where} ($.dependencies)", hint='["numpy>=2"]')
    if not isinstance(requires, str):
        raise ConfigError("expected a text", where=f"{where} ($.requires-python)", hint='">=3.11"')
    tool = data.get("tool") or {}
    settings = _settings(tool.get("windlass") or {} if isinstance(tool, dict) else {}, where)
    if settings.dependencies:
        declared = [*(declared or ()), *settings.dependencies]
    return ScriptHeader(
        dependencies=None if declared is None else tuple(declared), requires_python=requires, settings=settings
    )


def _settings(table: Any, where: str) -> ScriptSettings:
    if not isinstance(table, dict):
        raise ConfigError("expected a table", where=f"{where} ($.tool.windlass)", hint="[tool.windlass]")
    table = {key.replace("-", "_"): value for key, value in table.items()}
    if isinstance(table.get("entry_point"), str):
        table["entry_point"] = split_command(table["entry_point"], f"{where} ($.tool.windlass.entry_point)")
    return structure(table, ScriptSettings, document=Document(data=table, source=f"{where} [tool.windlass]"))


def script_header(root: Path, command: Iterable[str]) -> ScriptHeader | None:
    """The header of the script that a command starts, read from a source; None if there is no such script.

    Raises:
        ConfigError: See `read_header`.
    """
    name = next((word for word in command if word.endswith(".py")), "")
    text = read_text(root, name) if name and not name.startswith("/") else None
    return read_header(text, name) if text is not None else None


def script_settings(request: LaunchRequest) -> ScriptSettings:
    """What the script that a request names says about its launch; nothing for other requests.

    Raises:
        ConfigError: See `read_header`.
    """
    path = Path(request.uri).expanduser() if request.uri.endswith(".py") and "://" not in request.uri else None
    if path is None or not path.is_file():
        return ScriptSettings()
    try:
        header = read_header(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError):
        return ScriptSettings()  # it is refused, or taken as it is, when it is packaged
    return header.settings if header is not None else ScriptSettings()


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
