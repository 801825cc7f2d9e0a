"""Configuration: declared once as attrs classes, used for validation, JSON Schema, docs and help."""

from typing import TYPE_CHECKING

from windlass.config.options import option, options

__all__ = ["option", "options"]


if not TYPE_CHECKING:  # for a checker every name would be there

    def __getattr__(name: str) -> object:
        hint = "" if name[0] == "_" else "; the inputs of the active run are windlass.run.config"
        raise AttributeError(f"module 'windlass.config' has no attribute {name!r}{hint}")
