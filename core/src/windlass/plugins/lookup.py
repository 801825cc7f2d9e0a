"""Which plugin serves a URI."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from windlass.errors import PluginError, PluginNotFoundError, UsageError

if TYPE_CHECKING:
    from windlass.plugins.app import App
    from windlass.plugins.types import PluginInfo, StoragePlugin

# Names of the official plugins by scheme: a look-up then imports one plugin and not all of them.
_METASTORES = {"sqlite": "sql", "postgresql": "sql", "postgres": "sql", "http": "http", "https": "http", "unix": "http"}
_STORAGES = {
    "file": "file", "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs",
    "az": "azure", "abfs": "azure", "abfss": "azure", "http": "http", "https": "http",
}  # fmt: skip


OFFICIAL = {
    "builder": ("docker", "noop"),
    "runner": ("docker", "process"),
    "registry": ("oci",),
    "environment": ("aws", "azure", "gcp"),
    "storage": ("azure", "file", "gcs", "http", "s3"),
    "serializer": (
        "cloudpickle", "dill", "joblib", "json", "numpy", "onnx", "parquet", "pickle", "safetensors",
    ),
    "metastore": ("http", "sql"),
}  # fmt: skip
"""Names of Windlass's own plugins. Only for these an error says what to install: any other name may come out of a
stranger's artifact, who may have published a package for it."""


def how_to_install(kind: str, name: str) -> str:
    """What to do when a plugin is not installed."""
    from windlass.plugins.scan import GROUPS

    if name in OFFICIAL.get(kind, ()):
        return f"Install it with: pip install windlass-{kind}-{name}"
    group = next(group for group, of in GROUPS.items() if of == kind)
    return f"Install the package that offers it, by an entry point of the group {group}."


def official_storage(scheme: str) -> str:
    """Name of the official plugin for a scheme; empty if there is none."""
    return _STORAGES.get(scheme, "")


def scheme_of(uri: str) -> str:
    """The scheme of a URI, lower case. Raises `UsageError` if there is none."""
    try:
        scheme = urlsplit(uri).scheme.lower()
    except ValueError as error:  # a host in brackets that do not close, or of characters that no host may have
        raise UsageError(f"not an address: {error}", where=uri, hint="Correct its host.") from error
    if not scheme or "://" not in uri:
        raise UsageError(f"{uri!r} has no scheme", hint="Write e.g. file:///data/x or s3://bucket/key.")
    return scheme


def metastore_name(app: App, url: str) -> str:
    """Name of the metastore plugin that serves a URL. Raises `UsageError` and `PluginNotFoundError`."""
    if "://" not in url:
        raise UsageError(
            f"{url!r} is no metadata store",
            where="WINDLASS_BASE_URL" if url == app.settings.store_url else "",
            hint="https://HOST of a server, postgresql://HOST/NAME, or sqlite:////FILE.",
        )
    scheme = scheme_of(url)
    known = _METASTORES.get(scheme)
    if known in app.metastores.names():
        assert known is not None
        return known
    for info, descriptor in app.metastores.get_all():
        if not isinstance(descriptor, PluginError) and scheme in descriptor.schemes:
            return info.name
    raise PluginNotFoundError(
        f"no metadata store serves {scheme}://",
        where="WINDLASS_BASE_URL",
        hint=f"pip install windlass-metastore-{known}" if known else how_to_install("metastore", scheme),
    )


def storage_name(app: App, uri: str) -> str:
    """Name of the storage plugin that serves a URI, or ``fsspec:<protocol>``. Raises `PluginNotFoundError`."""
    scheme = scheme_of(uri)
    host = urlsplit(uri).hostname or ""
    if scheme in ("http", "https"):
        if fnmatch(host, "*.blob.core.windows.net") and "azure" in app.storage.names():
            return "azure"
        for info, descriptor in _others(app):
            if any(fnmatch(host, pattern) for pattern in descriptor.hosts):
                return info.name
    known = _STORAGES.get(scheme)
    if known in app.storage.names():
        assert known is not None
        return known
    for info, descriptor in _others(app):
        if scheme in descriptor.schemes:
            return info.name
    from fsspec.registry import known_implementations, registry

    if scheme in registry or scheme in known_implementations:
        return f"fsspec:{scheme}"
    raise PluginNotFoundError(
        f"no storage serves {scheme}://; installed: {', '.join(app.storage.names()) or 'none'}",
        where=uri,
        hint=f"Any fsspec filesystem for {scheme}:// will do. {how_to_install('storage', known or scheme)}",
    )


def _others(app: App) -> Iterator[tuple[PluginInfo, StoragePlugin[Any]]]:
    official = set(_STORAGES.values())
    for info, descriptor in app.storage.get_all():
        if info.name not in official and not isinstance(descriptor, PluginError):
            yield info, descriptor
