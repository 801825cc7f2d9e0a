"""Where versions are downloaded to when nobody says where: a folder by name and number, each for one content only.

Collections of two projects may share name and number. Their files must not mix in one folder, and a checkout of one
must not delete those of the other. So a small file beside a folder says whose it is: the first that is written there.
"""

from __future__ import annotations

import os
from contextlib import suppress

from windlass.artifacts.files import temporary_in

__all__ = ["default_root"]

_SHOWN = 12


def default_root(above: str, name: str, digest: str, *, claim: bool) -> str:
    """The folder for a version; ``<name>@<digest>`` where ``<name>`` is that of another content.

    Args:
        above: Absolute path of the folder for all of them.
        name: Name and number of the version.
        digest: Of the artifact.
        claim: It is going to be written: it is this content's from now on, unless it is another's.
    """
    mark = f"{above}/.{name}.digest"  # no name of a folder ends so
    if claim and not os.path.exists(mark):
        with suppress(OSError):  # nothing can be written here; what is there may be all of it
            os.makedirs(above, exist_ok=True)
            _write(mark, digest)
    try:
        with open(mark, encoding="ascii") as file:
            owner = file.read()
    except OSError:
        owner = digest
    return f"{above}/{name}" if owner == digest else f"{above}/{name}@{digest.partition(':')[2][:_SHOWN]}"


def _write(mark: str, digest: str) -> None:
    """Make a file whole, or leave the one that is there: of several processes at once the first has it."""
    temporary = temporary_in(os.path.dirname(mark))
    try:
        with open(temporary, "x", encoding="ascii") as file:
            file.write(digest)
        try:
            os.link(temporary, mark)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(temporary, mark)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
