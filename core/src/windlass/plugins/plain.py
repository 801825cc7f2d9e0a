"""Kinds of plugins without a descriptor: their entry point names the thing itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from windlass.errors import PluginInvalidError, PluginNotFoundError
from windlass.plugins.catalog import check_hooks
from windlass.plugins.loading import import_module, only
from windlass.plugins.lookup import how_to_install
from windlass.plugins.types import PluginInfo

__all__ = ["PLAIN_KINDS", "check_plain", "plain_infos"]

PLAIN_KINDS = ("hook", "media", "secret")
"""Listeners to events, classes of media, functions of secret schemes."""


def plain_infos(installed: Iterable[PluginInfo], kind: str, name: str) -> list[PluginInfo]:
    """Who offers a name of such a kind: of listeners there may be several.

    Raises:
        PluginNotFoundError: Nobody. Names what there is.
        PluginConflictError: Two do, where there can be one only.
    """
    of_kind = [info for info in installed if info.kind == kind]
    found = [info for info in of_kind if info.name == name]
    if not found:
        names = ", ".join(sorted({info.name for info in of_kind}))
        raise PluginNotFoundError(
            f"there is no {kind} '{name}'; installed: {names or 'none'}",
            hint=how_to_install(kind, name),
        )
    return found if kind == "hook" else [only(found)]


def check_plain(info: PluginInfo) -> None:
    """Import what an entry point names, and see whether it is what its kind needs.

    Raises:
        PluginImportError, PluginInvalidError: It cannot be used; names the distribution.
    """
    found = import_module(info)
    problem = ""
    if info.kind == "hook":
        check_hooks(found, info)
        if not any(name.startswith("windlass_") for name in dir(found)):
            problem = "it listens to no event"
    elif info.kind == "secret" and not callable(found):
        problem = f"it is no function but {type(found).__name__}"
    elif info.kind == "media":
        problem = _media_problem(found, info.name)
    if problem:
        raise PluginInvalidError(
            f"the {info} is not well formed: {problem}",
            hint=f"This is a problem of {info.distribution}, not of Windlass; report it there.",
        )


def _media_problem(found: Any, name: str) -> str:
    from windlass.artifacts.media import Media

    if not (isinstance(found, type) and issubclass(found, Media)):
        return f"it is no class of Media but {found!r}"
    own = getattr(found, "media_name", "")
    return "" if own == name else f"its media_name is {own!r}, but the entry point is called '{name}'"
