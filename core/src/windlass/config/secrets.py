"""Secrets are references until they are handed over. Only this module turns a reference into a value."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from windlass.config.options import is_config
from windlass.errors import PluginError, SecretError

__all__ = ["Secret", "SecretResolver", "is_reference", "names_secret", "references_in"]


class Secret:
    """A resolved secret. `repr`, `str` and formatting never show the value; `reveal` does. No encoder takes it."""

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str = "") -> None:
        self._value = value
        self.reference = reference

    def reveal(self) -> str:
        """The value, for handing it to a runner, registry or builder."""
        return self._value

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __repr__(self) -> str:
        return f"Secret({self.reference})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._value, self.reference) == (other._value, other.reference)

    def __hash__(self) -> int:
        return hash((self._value, self.reference))


def is_reference(value: Any) -> bool:
    """True for ``{secret: env/NAME}``, the way a secret is written in a config."""
    return isinstance(value, Mapping) and set(value) == {"secret"} and isinstance(value["secret"], str)


def references_in(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """The secret references in a config object, each behind its place: ``$.s3.secret-access-key``."""
    if is_reference(value):
        yield where, value["secret"]
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from references_in(item, f"{where}.{key}")
    elif is_config(type(value)):
        import attrs

        for a in attrs.fields(type(value)):
            item, place = getattr(value, a.name), f"{where}.{a.metadata.get('key') or a.name}"
            if a.metadata.get("secret") and isinstance(item, str):
                yield from [(place, item)] if item else ()
            else:
                yield from references_in(item, place)


class SecretResolver:
    """Resolves references ``<scheme>/<rest>``.

    Schemes: ``env/NAME`` (environment variable), ``file/PATH`` (content of a file, one trailing newline removed;
    relative to the working directory, ``file//abs`` for absolute paths), ``keyring/SERVICE/USER`` (the system's
    keyring, when the package `keyring` is installed). Other packages add schemes by an entry point of the group
    ``windlass.secrets``: its name is the scheme, its value a function from the rest to the secret.

    Args:
        env: Environment variables; default are those of the process.
        place: Where the owner of the references finds a place that he is told, see `Context.place`.
    """

    def __init__(self, env: Mapping[str, str] | None = None, place: Callable[[str], str] = str) -> None:
        self._env = os.environ if env is None else env
        self._place = place
        self._schemes: dict[str, Callable[[str], str]] = {
            "env": self._from_env,
            "file": _from_file,
            "keyring": _keyring,
        }

    def resolve(self, reference: str, *, where: str = "") -> Secret:
        """The secret behind a reference.

        Args:
            reference: How it is written.
            where: The place it is written at, for messages.

        Raises:
            SecretError: Unknown scheme, or nothing there. Never holds a value.
        """
        where = self._place(where)
        scheme, _, rest = reference.partition("/")
        resolve = (self._schemes.get(scheme) or _plugin(scheme, where)) if rest else None
        if resolve is None:
            known = sorted({*self._schemes, *_plugin_schemes()})
            raise SecretError(
                "not a secret reference", where=where, hint=f"Write one of: {', '.join(f'{s}/…' for s in known)}."
            )
        try:
            return Secret(resolve(rest), reference)
        except SecretError as error:
            raise SecretError(error.message, where=where or reference, hint=error.hint) from None

    def _from_env(self, name: str) -> str:
        try:
            return self._env[name]
        except KeyError:
            raise SecretError(f"the environment variable {name} is not set", hint=f"export {name}=…") from None


def names_secret(text: str) -> bool:
    """Whether a text that may be a path, too, is a reference: whether it begins with a scheme that is served."""
    scheme, _, rest = text.partition("/")
    return bool(rest) and (scheme in ("env", "file", "keyring") or scheme in _plugin_schemes())


def _plugin_schemes() -> list[str]:
    from windlass.plugins.scan import installed_plugins

    return [info.name for info in installed_plugins() if info.kind == "secret"]


def _plugin(scheme: str, where: str) -> Callable[[str], str] | None:
    """The function of another package for a scheme. What it raises is never shown: it may hold the secret."""
    from windlass.plugins.loading import offered

    try:
        found = offered("secret", scheme)
    except PluginError as error:
        raise SecretError(error.message, where=where, hint=error.hint) from error
    if found is None:
        return None
    info, function = found

    def resolve(rest: str) -> str:
        hint = f"This is a problem of {info.distribution} {info.version}, not of Windlass; report it there."
        try:
            value = function(rest)
        except SecretError:
            raise
        except (Exception, SystemExit) as error:
            raise SecretError(f"the {info} failed: {type(error).__name__}", hint=hint) from None
        if not isinstance(value, str):
            raise SecretError(f"the {info} returned {type(value).__name__}, not text", hint=hint)
        return value

    return resolve


def _from_file(rest: str) -> str:
    path = Path(rest).expanduser()
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SecretError(f"the secret file {path} cannot be read: {reason}", hint="Check path and mode.") from None


def _keyring(rest: str) -> str:
    service, _, user = rest.partition("/")
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        raise SecretError("the package keyring is not installed", hint="pip install keyring") from None
    try:
        value = keyring.get_password(service, user)
    except keyring.errors.KeyringError as error:
        raise SecretError(
            f"the keyring cannot be asked for {service}/{user}: {type(error).__name__}",
            hint="Unlock it, or give it a backend: keyring --list-backends",
        ) from None
    if value is None:
        raise SecretError(f"the keyring has no entry {service}/{user}", hint=f"keyring set {service} {user}")
    return str(value)
