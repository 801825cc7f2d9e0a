"""Which files of a folder are taken: include and exclude globs, and ``.windlassignore`` in the manner of git."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from windlass.artifacts.names import words
from windlass.errors import UsageError

__all__ = ["IGNORE_FILE", "Patterns", "compile_glob"]

IGNORE_FILE = ".windlassignore"


class Patterns:
    """Decides by relative path.

    Args:
        include: Globs, or one; when there are any, a file must match one.
        exclude: Lines as in ``.gitignore``: the last that matches decides, ``!`` takes back, a trailing ``/`` means
            folders only, a ``/`` elsewhere ties the pattern to the top folder.
    """

    def __init__(self, include: str | Sequence[str] = (), exclude: str | Sequence[str] = ()) -> None:
        self._include = [compile_glob(line.strip("/"), anchored="/" in line.strip("/")) for line in words(include)]
        self._rules = [rule for line in words(exclude) if (rule := _rule(line)) is not None]

    @classmethod
    def for_folder(
        cls,
        root: str,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        files: Sequence[str] = (IGNORE_FILE,),
    ) -> Patterns | None:
        """The patterns for a folder with its ignore files; None when everything is taken.

        Raises:
            UsageError: A pattern, or a file of them, cannot be read.
        """
        rules = []
        for name in files:
            path = os.path.join(root, name)
            if os.path.exists(path) and not os.path.isfile(path):  # reading a FIFO would wait for ever
                raise UsageError("it is no file", where=path, hint="Patterns are lines of a text file.")
            try:
                with open(path, encoding="utf-8-sig") as file:
                    found = file.read().splitlines()
                rules += [_rule(line, f"{path}:{number}") for number, line in enumerate(found, 1)]
            except FileNotFoundError:
                pass
            except UnicodeDecodeError as error:
                raise UsageError(f"it is not UTF-8: {error}", where=path, hint="Save it as UTF-8.") from None
        if not (include or exclude or rules):
            return None
        made = cls(include, exclude)
        made._rules = [*(rule for rule in rules if rule is not None), *made._rules]
        return made

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


def _rule(line: str, where: str = "") -> tuple[re.Pattern[str], bool, bool] | None:
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
    return compile_glob(line.lstrip("/"), anchored="/" in line, where=where), folders_only, negated


def compile_glob(glob: str, *, anchored: bool, where: str = "") -> re.Pattern[str]:
    """A regular expression for a glob over paths: ``*`` and ``?`` stay within a part; ``**`` as a part is any folders.

    Args:
        glob: The pattern, without leading or trailing ``/``.
        anchored: It must match from the top; else it may match the last parts of a path.
        where: Where it stands, for errors.

    Raises:
        UsageError: A range in it goes backwards, or a class of characters is not known.
    """
    try:
        return re.compile(_expression(_tokens(glob if anchored else f"**/{glob}")), re.DOTALL)
    except re.error as error:
        raise UsageError(
            f"'{glob}' is not a pattern: {error.msg}",
            where=where,
            hint=f"Write a range upwards: [a-z], [0-9]. Classes are [:{':], [:'.join(_NAMED)}:].",
        ) from None


def _tokens(glob: str) -> list[str]:
    """Stars, ``/``, and what else is in a glob as regular expressions."""
    found, i = [], 0
    known: tuple[str, int] | None = ("", 0)
    while i < len(glob):
        char, step = glob[i], 1
        if char == "*":
            step = len(glob) - i - len(glob[i:].lstrip("*"))
            begins, then = i == 0 or glob[i - 1] == "/", glob[i + step : i + step + 1]
            made = "*"
            if step == 2 and begins and then in ("", "/"):
                made, step = (f"**{then}", step + len(then))
        elif char == "?":
            made = "[^/]"
        elif char == "[" and known and (known := _set(glob, i + 1)):  # where one is not closed, no later one is
            made, step = known[0], known[1] - i
        elif char == "\\" and i + 1 < len(glob):
            made, step = re.escape(glob[i + 1]), 2
        else:
            made = re.escape(char)
        found.append(made)
        i += step
    return found


_NAMED = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": r" \t", "cntrl": r"\x00-\x1f\x7f", "digit": "0-9",
    "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r" \t-\r", "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}  # fmt: skip


def _set(glob: str, start: int) -> tuple[str, int] | None:
    """The set of characters behind a ``[``, and where it ends; None where no ``]`` closes it."""
    negated = glob[start : start + 1] in ("!", "^")
    start += negated
    body, i = "", start
    while i < len(glob):
        char, step = glob[i], 1
        if char == "]" and i > start:
            return f"(?!/)[{'^' if negated else ''}{body}]", i + 1
        if glob.startswith("[:", i) and glob[(end := glob.find("]", i + 2)) - 1] == ":" and end > i + 2:
            name, step = glob[i + 2 : end - 1], end + 1 - i
            if name not in _NAMED:
                raise re.error(f"there is no class of characters [:{name}:]")
            made = _NAMED[name]
        elif char == "\\" and i + 1 < len(glob):
            made, step = re.escape(glob[i + 1]), 2
        else:
            made = char if char == "-" else re.escape(char)
        body += made
        i += step
    return None


_ANY = {"": ("", ""), "**": (".*", ".*?"), "**/": ("(?:.*/)?", "(?:.*?/)??")}


def _expression(tokens: list[str]) -> str:
    """What stands between two stars is taken at its first place for good (``(?>…)``) where that is always right.

    Otherwise a pattern of ten stars tries more combinations of places than can be waited for.
    """
    pieces: list[list[str]] = [[]]
    stars = [""]
    for token in tokens:
        if token in ("**", "**/"):
            stars.append(token)
            pieces.append([])
        else:
            pieces[-1].append(token)
    out = ""
    for index, (star, piece) in enumerate(zip(stars, pieces, strict=True)):
        then = stars[index + 1] if index + 1 < len(stars) else ""
        at_folder = piece[-1] == "/" if piece else star != "**"
        greedy, lazy = _ANY[star]
        if then == "**" or (then == "**/" and at_folder):
            out += f"(?>{lazy}{_parts(piece, '[^/]*?')})"
        else:
            out += greedy + _parts(piece, "[^/]*")
    return out


def _parts(piece: list[str], last_star: str) -> str:
    out = ""
    for part in _split(piece, "/"):
        first, *others = ("".join(chunk) for chunk in _split(part, "*"))
        out += first + "".join(f"(?>[^/]*?{chunk})" for chunk in others[:-1])
        out += f"{last_star}{others[-1]}/" if others else "/"
    return out[:-1]


def _split(tokens: list[str], mark: str) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for token in tokens:
        if token == mark:
            found.append([])
        else:
            found[-1].append(token)
    return found
