"""Parameters of the serializer `cloudpickle`: those of ``cloudpickle.dump``."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class CloudpickleConfig:
    """Parameters of ``cloudpickle.dump``."""

    protocol: int = option(help="Pickle protocol.", default=5, minimum=2, maximum=5)
