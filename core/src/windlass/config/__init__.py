"""Configuration: declared once as attrs classes, used for validation, JSON Schema, docs and help."""

from windlass.config.options import option, options

__all__ = ["option", "options"]
