"""The address and key that ``windlass login`` keeps: ``<home>/credentials.json``, readable by its owner only."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from windlass import wire
from windlass.settings import Settings

__all__ = ["apply", "remove", "write"]


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    base_url: str
    api_key: str = ""
    entity: str = ""

    def __repr__(self) -> str:
        return f"_Kept({self.base_url})"


def _path(home: Path) -> Path:
    return home / "credentials.json"


def write(home: Path, base_url: str, api_key: str, entity: str = "") -> None:
    """Keep an address and a key, and the entity of whose key it is."""
    home.mkdir(parents=True, exist_ok=True)
    partial = _path(home).with_suffix(".tmp")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(wire.encode(_Kept(base_url=base_url, api_key=api_key, entity=entity)))
    partial.replace(_path(home))


def remove(home: Path) -> bool:
    """Forget them. False when there were none."""
    try:
        _path(home).unlink()
    except FileNotFoundError:
        return False
    return True


def apply(settings: Settings, *, entity_given: bool = False) -> Settings:
    """Settings with the kept address and key, as far as nothing else was given for them.

    A key is used for the server it was given for, and no other. Who signed in works in the entity of his name there,
    not in that of his name on this machine, unless another one is given.
    """
    if settings.api_key or (settings.base_url and not settings.base_url.startswith("http")):
        return settings
    try:
        kept = wire.decode(_path(settings.home).read_bytes(), _Kept)
    except OSError:
        return settings
    if settings.base_url and settings.base_url.rstrip("/") != kept.base_url:
        return settings
    chosen = entity_given or "WINDLASS_ENTITY" in os.environ or not kept.entity
    entity = settings.entity if chosen else kept.entity
    return settings.replace(base_url=kept.base_url, api_key=kept.api_key, entity=entity)
