"""Secrets are references until they are handed over. Only this module turns a reference into a value."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from windlass.errors import SecretError

__all__ = ["Secret", "SecretResolver", "is_reference", "references_in"]


@frozen
class Secret:
    """A resolved secret. `repr`, `str` and formatting never show the value; `reveal` does."""

    _value: str = field(repr=False)
    reference: str = ""

    def reveal(self) -> str:
        """The value, for handing it to a runner, registry or builder."""
        return self._value

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __repr__(self) -> str:
        return f"Secret({self.reference})"


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
    elif attrs.has(type(value)):
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
    keyring, when the package `keyring` is installed). More by `add`.
    """

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._env = os.environ if env is None else env
        self._schemes: dict[str, Callable[[str], str]] = {
            "env": self._from_env,
            "file": _from_file,
            "keyring": _keyring,
        }

    def add(self, scheme: str, resolve: Callable[[str], str]) -> None:
        """Serve one more scheme."""
        self._schemes[scheme] = resolve

    def resolve(self, reference: str, *, where: str = "") -> Secret:
        """The secret behind a reference.

        Raises:
            SecretError: Unknown scheme, or nothing there. Never holds a value.
        """
        scheme, slash, rest = reference.partition("/")
        if not slash or not rest or scheme not in self._schemes:
            raise SecretError(
                "not a secret reference",
                where=where,
                hint=f"Write one of: {', '.join(f'{s}/…' for s in sorted(self._schemes))}.",
            )
        try:
            return Secret(self._schemes[scheme](rest), reference)
        except SecretError as error:
            raise SecretError(error.message, where=where or reference, hint=error.hint) from None

    def _from_env(self, name: str) -> str:
        try:
            return self._env[name]
        except KeyError:
            raise SecretError(f"the environment variable {name} is not set", hint=f"export {name}=…") from None


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
