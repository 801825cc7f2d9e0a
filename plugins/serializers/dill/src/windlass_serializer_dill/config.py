"""Parameters of the serializer `dill`: those of ``dill.dump`` and ``dill.load``."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class DillConfig:
    """Parameters of ``dill.dump``; what is not given has dill's own default, whatever ``dill.settings`` says."""

    protocol: int = option(help="Pickle protocol.", default=5, minimum=0, maximum=5)
    byref: bool = option(help="Store classes by name, as pickle does, and not with their code.", default=False)
    recurse: bool = option(help="Store only those globals of a function that it uses.", default=False)
    fmode: int = option(
        help="Open file handles: 0 new handle at the start, 1 at the stored position, 2 with the content.",
        default=0,
        choices=(0, 1, 2),
    )
    ignore: bool = option(help="When reading, use the classes of __main__ that exist already.", default=True)
