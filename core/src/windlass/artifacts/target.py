"""The folder that a download goes to."""

from __future__ import annotations

import os
import stat
import unicodedata

from windlass.artifacts.names import check_entry_paths
from windlass.artifacts.naming import naming, translated
from windlass.errors import UsageError

__all__ = ["Target", "folds_case"]


class Target:
    """A folder that entries are written to. Links in it are never followed.

    Args:
        root: Absolute path of the folder; made when needed.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._folders: set[str] = {""}
        self._fresh: set[str] = set()  # those that were made here: nothing is in them but what was put there
        if os.path.lexists(root) and not os.path.isdir(root):
            raise UsageError(
                "there is a file of that name, and a folder is needed", where=root, hint="Give another folder."
            )
        with naming(root):
            if not os.path.isdir(root):
                os.makedirs(root, exist_ok=True)
                self._fresh.add("")
        self._folded: dict[str, str] | None = {} if folds_case(root) else None

    def places(self, paths: list[str]) -> list[tuple[str, bool]]:
        """The paths on disk for entries, with their folders made.

        True with a path: there can be no file, as its folder was made here.

        Raises:
            UsageError: A path leads out of the folder, or through a link or a file.
        """
        check_entry_paths(paths)
        found = []
        for path in paths:
            if self._folded is not None:
                self._fold(path, self._folded)
            folder = path.rpartition("/")[0]
            if folder not in self._folders:
                self._make(folder)
            if os.name == "nt" and ":" in path:
                raise UsageError(f"'{path}' cannot be a file name on this system")
            found.append((f"{self.root}/{path}", folder in self._fresh))
        return found

    def _fold(self, path: str, folded: dict[str, str]) -> None:
        first = folded.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if first != path:
            raise UsageError(
                f"'{first}' and '{path}' are one name on this file system",
                where=self.root,
                hint="Download to a file system that tells upper from lower case, or leave one out (exclude).",
            )

    def _make(self, folder: str) -> None:
        above = folder.rpartition("/")[0]
        if above not in self._folders:
            self._make(above)
        place = f"{self.root}/{folder}"
        try:
            os.mkdir(place)
            self._fresh.add(folder)
        except FileExistsError:
            found = os.lstat(place)
            if stat.S_ISLNK(found.st_mode):
                raise UsageError(
                    "it is a symbolic link; nothing is written through it", where=place, hint="Remove the link."
                ) from None
            if not stat.S_ISDIR(found.st_mode):
                raise UsageError(
                    "a file is in the way of a folder", where=place, hint="Remove it, or download elsewhere."
                ) from None
        except OSError as error:
            raise translated(error, place) from error
        self._folders.add(folder)


def folds_case(folder: str) -> bool:
    """True when the file system that a folder is on takes ``A`` and ``a`` for one name."""
    above, name = os.path.split(folder)
    if name.swapcase() == name:
        return bool(above.strip("/")) and folds_case(above)
    try:
        return os.path.samefile(folder, f"{above}/{name.swapcase()}")
    except OSError:
        return False
