"""Parameters of the pickle serializer."""

from __future__ import annotations

import pickle

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class PickleSerializerConfig:
    """What may be passed to ``pickle.dump``."""

    protocol: int = option(
        default=pickle.HIGHEST_PROTOCOL,
        minimum=0,
        maximum=pickle.HIGHEST_PROTOCOL,
        help="Pickle protocol. From 5 on large buffers are kept outside the stream.",
    )
    fix_imports: bool = option(default=True, help="Map names to those of Python 2 for protocols below 3.")
