"""Which files of a folder are taken: include and exclude globs, and ``.windlassignore`` in the manner of git."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

__all__ = ["IGNORE_FILE", "Patterns", "compile_glob"]

IGNORE_FILE = ".windlassignore"


class Patterns:
    """Decides by relative path.

    Args:
        include: Globs; when there are any, a file must match one.
        exclude: Lines as in ``.gitignore``: the last that matches decides, ``!`` takes back, a trailing ``/`` means
            folders only, a ``/`` elsewhere ties the pattern to the top folder.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = [compile_glob(line.strip("/"), anchored="/" in line.strip("/")) for line in include]
        self._rules = [rule for line in exclude if (rule := _rule(line)) is not None]

    @classmethod
    def for_folder(
        cls, root: str, include: Sequence[str] = (), exclude: Sequence[str] = (), files: Sequence[str] = (IGNORE_FILE,)
    ) -> Patterns | None:
        """The patterns for a folder with its ignore files; None when everything is taken."""
        lines = []
        for name in files:
            try:
                with open(os.path.join(root, name), encoding="utf-8-sig") as file:
                    lines += file.read().splitlines()
            except FileNotFoundError:
                pass
        lines += exclude
        return cls(include, lines) if include or lines else None

    def wanted(self, path: str, is_dir: bool) -> bool:
        """True when a file is taken, or a folder looked into. Folders above were asked before."""
        taken = True
        for pattern, folders_only, negated in self._rules:
            if (is_dir or not folders_only) and pattern.fullmatch(path):
                taken = negated
        if taken and self._include and not is_dir:
            return any(pattern.fullmatch(path) for pattern in self._include)
        return taken

    def takes(self, path: str) -> bool:
        """True when a file is taken, asking for its folders too."""
        end = path.find("/")
        while end >= 0:
            if not self.wanted(path[:end], True):
                return False
            end = path.find("/", end + 1)
        return self.wanted(path, False)


def _rule(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    line = re.sub(r"(?<!\\) +$", "", line.rstrip("\r\n"))
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    line = line[1:] if negated else line
    line = line[1:] if line.startswith(("\\#", "\\!")) else line
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    if not line:
        return None
    return compile_glob(line.lstrip("/"), anchored="/" in line), folders_only, negated


def compile_glob(glob: str, *, anchored: bool) -> re.Pattern[str]:
    """A regular expression for a glob over paths: ``*`` and ``?`` stay within a part, ``**`` does not.

    Args:
        glob: The pattern, without leading or trailing ``/``.
        anchored: It must match from the top; else it may match the last parts of a path.
    """
    out, i = ("" if anchored else "(?:.*/)?"), 0
    while i < len(glob):
        char = glob[i]
        if glob.startswith("**/", i):
            out, i = out + "(?:.*/)?", i + 3
            continue
        if glob.startswith("**", i):
            out, i = out + ".*", i + 2
            continue
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[" and (end := glob.find("]", i + 2)) > 0:
            body = glob[i + 1 : end].replace("\\", "\\\\")
            body = "^" + body[1:] if body[0] in "!^" else body
            out, i = out + f"(?!/)[{body}]", end + 1
            continue
        elif char == "\\" and i + 1 < len(glob):
            i += 1
            out += re.escape(glob[i])
        else:
            out += re.escape(char)
        i += 1
    return re.compile(out, re.DOTALL)
