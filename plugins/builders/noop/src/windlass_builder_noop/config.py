"""Configuration of the noop builder."""

from __future__ import annotations

from attrs import frozen

from windlass.config.options import option

__all__ = ["NoopConfig"]


@frozen(kw_only=True)
class NoopConfig:
    """``builder: {type: noop}``. The keys of other builders are read and not used, so that a type can be switched."""

    destination: str = option(default="", help="Not used: nothing is pushed.")
    platform: str = option(default="", help="Not used: nothing is built.")
    build_context_store: str = option(default="", key="build-context-store", help="Not used: nothing is built.")
