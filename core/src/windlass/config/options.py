"""How a config class declares its keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs


def option(
    *,
    help: str,
    default: Any = attrs.NOTHING,
    factory: Callable[[], Any] | None = None,
    key: str = "",
    choices: Sequence[Any] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str = "",
    secret: bool = False,
) -> Any:
    """Declare one key of a config class.

    Args:
        help: One sentence; shown by ``windlass plugins show`` and in the docs. Required.
        default: Value when the key is missing; without default and factory the key is required.
        factory: Makes the default of mutable types.
        key: Name in YAML when it differs from the field (``build-context-store``); both spellings are read.
        choices: Allowed values.
        minimum: Smallest allowed number.
        maximum: Largest allowed number.
        pattern: Regular expression that a text must match in full.
        secret: The value is a secret reference (``env/NAME`` …), never shown.
    """
    metadata = {
        "help": help,
        "key": key,
        "choices": tuple(choices),
        "minimum": minimum,
        "maximum": maximum,
        "pattern": pattern,
        "secret": secret,
    }
    if factory is not None:
        return attrs.field(factory=factory, metadata=metadata, repr=not secret)
    return attrs.field(default=default, metadata=metadata, repr=not secret)
