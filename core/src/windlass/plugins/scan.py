"""Entry points of installed distributions, read from their metadata files without importing anything.

`importlib.metadata` costs 35 ms to import and 50 ms to scan 300 distributions; this costs 3 ms, and less when nothing
was installed since the last time. It reads ``*.dist-info`` and ``*.egg-info`` directories on ``sys.path``, where
installers put them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from windlass.plugins.types import PluginInfo

GROUPS = {
    "windlass.builders": "builder",
    "windlass.runners": "runner",
    "windlass.registries": "registry",
    "windlass.environments": "environment",
    "windlass.storage": "storage",
    "windlass.serializers": "serializer",
    "windlass.metastores": "metastore",
    "windlass.media": "media",
    "windlass.secrets": "secret",
    "windlass.hooks": "hook",
}
"""Entry-point groups and the kind of plugin in each."""


_FORMAT = 2
_SETTLED_NS = 2_000_000_000  # a folder that changed so shortly before may change again without another time stamp


class _Known(msgspec.Struct):
    """What is remembered, and for which folders, last changed when."""

    format: int
    folders: list[str]
    changed: list[int]
    plugins: tuple[PluginInfo, ...] = ()


_decode = msgspec.json.Decoder(_Known).decode  # made here, by one thread: see `windlass.wire.decoder`


def remembered_plugins(cache: Path) -> tuple[PluginInfo, ...]:
    """The same as `installed_plugins`, from a file of the last answer while no folder of ``sys.path`` has changed.

    Args:
        cache: The file; made when needed. One that is damaged, or cannot be written, costs time, nothing else.
    """
    folders = [os.path.abspath(folder) for folder in sys.path]
    changed = [_changed_at(folder) for folder in folders]
    with contextlib.suppress(OSError, msgspec.DecodeError):
        known = _decode(cache.read_bytes())
        if known.format == _FORMAT and known.folders == folders and known.changed == changed:
            return known.plugins
    began = time.time_ns()
    found = installed_plugins()
    if all(time_ns < began - _SETTLED_NS for time_ns in changed):
        temporary = cache.with_name(f"{cache.name}.{os.getpid()}.tmp")
        text = msgspec.json.encode(_Known(_FORMAT, folders, changed, found))
        with contextlib.suppress(OSError, UnicodeEncodeError):
            cache.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(text)
            os.replace(temporary, cache)
    return found


def _changed_at(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def installed_plugins(path: Iterable[str] | None = None) -> tuple[PluginInfo, ...]:
    """All entry points of the groups above, in the order of ``sys.path``. A broken distribution is skipped."""
    found: list[PluginInfo] = []
    seen: set[str] = set()
    for folder in sys.path if path is None else path:
        try:
            with os.scandir(folder or ".") as entries:
                names = sorted(e.name for e in entries if e.name.endswith((".dist-info", ".egg-info")))
        except OSError:
            continue
        for name in names:
            distribution, _, version = name.rsplit(".", 1)[0].partition("-")
            key = distribution.lower().replace("-", "_").replace(".", "_")
            if key in seen:
                continue  # an earlier folder of sys.path wins, as it does for imports
            seen.add(key)
            found.extend(_read(os.path.join(folder or ".", name), distribution, version))
    return tuple(found)


def _read(info_dir: str, distribution: str, version: str) -> list[PluginInfo]:
    try:
        with open(os.path.join(info_dir, "entry_points.txt"), encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return []
    if "windlass." not in text:
        return []
    facts = _metadata(info_dir)
    distribution = facts.get("name", distribution.replace("_", "-"))
    version = facts.get("version", version)
    plugins: list[PluginInfo] = []
    kind = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            kind = GROUPS.get(line.strip("[] "), "")
        elif kind and "=" in line and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            target = target.split("[")[0].replace(" ", "")
            if not name.strip() or not target:
                continue
            plugins.append(
                PluginInfo(
                    kind=kind,
                    name=name.strip(),
                    target=target,
                    summary=facts.get("summary", ""),
                    distribution=distribution,
                    version=version,
                )
            )
    return plugins


def _metadata(info_dir: str) -> dict[str, str]:
    facts: dict[str, str] = {}
    for file_name in ("METADATA", "PKG-INFO"):
        try:
            with open(os.path.join(info_dir, file_name), encoding="utf-8", errors="replace") as file:
                for line in file:
                    if not line.strip():
                        break
                    key, _, value = line.partition(":")
                    facts.setdefault(key.strip().lower(), value.strip())
        except OSError:
            continue
        break
    return facts
