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
_COPY_FROM = re.compile(r"(?:COPY|ADD)\s.*?--from=(\S+)", re.IGNORECASE)
_MOUNT_FROM = re.compile(r"--mount=\S*?\bfrom=([^,\s]+)", re.IGNORECASE)
_ARG = re.compile(r"ARG\s+([A-Za-z_]\w*)(?:=(.*))?$", re.IGNORECASE)
_SYNTAX = re.compile(r"#\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::([-+])([^}]*))?\}|(\w+))")


def _instructions(dockerfile: str) -> Iterator[str]:
    text, heredoc = "", ""
    for line in dockerfile.splitlines():
        if heredoc:
            heredoc = "" if line.strip() == heredoc else heredoc
            continue
        if not text and (not line.strip() or line.lstrip().startswith("#")):
            continue
        if text and line.lstrip().startswith("#"):
            continue
        text += line.strip()
        if text.endswith("\\"):
            text = text[:-1] + " "
            continue
        if found := re.search(r"<<-?\s*[\"']?(\w+)[\"']?", text):
            heredoc = found.group(1)
        yield text.strip()
        text = ""
    if text.strip():
        yield text.strip()


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

        return _VARIABLE.sub(value, text)

    for text in _instructions(dockerfile):
        if match := _ARG.fullmatch(text):
            name, default = match.group(1), (match.group(2) or "").strip().strip("\"'")
            variables[name] = build_args.get(name, substitute(default))
        elif match := _FROM.fullmatch(text):
            image = substitute(match.group(1))
            if image.lower() not in stages and image != "scratch":
                found.append(image)
            stages.add(str(count))
            count += 1
            if match.group(2):
                stages.add(match.group(2).lower())
        else:
            for image in (*_COPY_FROM.findall(text), *_MOUNT_FROM.findall(text)):
                image = substitute(image)
                if image.lower() not in stages:
                    found.append(image)
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
