"""Image tags from content: what goes into an image decides its tag, so the same content is built once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from windlass.launch.context import context_digest

__all__ = ["base_images", "content_tag"]

_FROM = re.compile(r"FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
_COPY = re.compile(r"(?:ONBUILD\s+)?(?:COPY|ADD)\s", re.IGNORECASE)
_ARG = re.compile(r"ARG\s+([A-Za-z_]\w*)(?:=(.*))?$", re.IGNORECASE)
_SYNTAX = re.compile(r"#\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_LONGEST, _MOST = 1000, 100
"""Characters of a build argument, and variables in one word, that may make an image's name."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::([-+])([^}]*))?\}|(\w+))")


def _instructions(dockerfile: str) -> Iterator[str]:
    pieces: list[str] = []
    heredoc = ""
    for line in map(str.strip, dockerfile.splitlines()):
        if heredoc:
            heredoc = "" if line == heredoc else heredoc
            continue
        if line.startswith("#") or not (line or pieces):
            continue
        if line.endswith("\\"):
            pieces.append(line[:-1])
            continue
        text = " ".join([*pieces, line]).strip()
        if found := re.search(r"<<-?\s*[\"']?(\w+)[\"']?", text):
            heredoc = found.group(1)
        yield text
        pieces.clear()
    if text := " ".join(pieces).strip():
        yield text


def _taken_from(instruction: str) -> Iterator[str]:
    """Images or stages that an instruction takes files of."""
    copies = _COPY.match(instruction) is not None
    for word in instruction.split():
        name, _, value = word.partition("=")
        if copies and name.lower() == "--from":
            yield value
        elif name.lower() == "--mount":
            for part in value.split(","):
                if part.lower().startswith("from="):
                    yield part[len("from=") :]


def base_images(dockerfile: str, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """Images that a Dockerfile takes from elsewhere: ``FROM``, ``COPY --from``, mounts, and its ``# syntax``."""
    found: list[str] = []
    stages: set[str] = set()
    variables: dict[str, str] = {}
    count = 0
    for line in dockerfile.splitlines():
        if not line.startswith("#"):
            break
        if match := _SYNTAX.fullmatch(line.strip()):
            found.append(match.group(1))

    def substitute(text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name, operator, other = match.group(1) or match.group(4), match.group(2), match.group(3)
            known = variables.get(name, "")
            if operator == "+":
                return other if known else ""
            return known or (other or "" if operator == "-" else "")

        return _VARIABLE.sub(value, text, count=_MOST)

    for text in _instructions(dockerfile):
        if match := _ARG.fullmatch(text):
            name, default = match.group(1), (match.group(2) or "").strip().strip("\"'")
            variables[name] = build_args.get(name, substitute(default)[:_LONGEST])  # they could double with each line
        elif match := _FROM.fullmatch(text):
            image = substitute(match.group(1))
            if image.lower() not in stages and image != "scratch":
                found.append(image)
            stages.add(str(count))
            count += 1
            if match.group(2):
                stages.add(match.group(2).lower())
        else:
            found += [image for image in map(substitute, _taken_from(text)) if image.lower() not in stages]
    return tuple(dict.fromkeys(image for image in found if image))


def content_tag(
    context: Path, *, dockerfile: str, platform: str, bases: Mapping[str, str], build_args: Mapping[str, str]
) -> str:
    """The tag of an image: 64 hexadecimal digits over everything that decides its content.

    Args:
        context: The build context; the Dockerfile's text is part of it.
        dockerfile: Path of the Dockerfile, as another one of the same context gives another image.
        platform: ``linux/amd64`` …
        bases: Digest by base image; an empty digest when it is not known before the build.
        build_args: Build arguments.
    """
    parts = {
        "format": 1,
        "context": context_digest(context),
        "dockerfile": dockerfile,
        "platform": platform,
        "bases": dict(bases),
        "build_args": dict(build_args),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
