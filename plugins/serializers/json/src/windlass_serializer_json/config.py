"""Parameters of the serializer `json`: those of ``json.dump`` that keep the result readable as the same data."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class JsonConfig:
    """Parameters of ``json.dump``."""

    indent: int = option(help="Spaces per level; 0 writes one line.", default=0, minimum=0, maximum=16)
    sort_keys: bool = option(help="Write keys in order, so that equal dicts give equal bytes.", default=False)
    ensure_ascii: bool = option(help="Write characters beyond ASCII as escapes; else as UTF-8.", default=False)
    allow_nan: bool = option(
        help="Write NaN and infinities as NaN, Infinity, -Infinity, which strict readers refuse.", default=False
    )
