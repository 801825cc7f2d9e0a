"""Credentials from docker's ``config.json``: stored ones, and those of credential helpers."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from windlass.errors import RegistryError
from windlass.registries import Credentials

__all__ = ["IDENTITY_TOKEN", "from_docker_config"]

IDENTITY_TOKEN = "<token>"  # noqa: S105 - the name docker uses, no secret
"""User name that marks a password as an identity token (OAuth2 refresh token)."""
_HELPER = re.compile(r"[A-Za-z0-9_.-]+")
_HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


def from_docker_config(host: str, path: str = "") -> Credentials:
    """Credentials for a registry host; anonymous if there are none.

    Args:
        host: As in image references (``docker.io``, ``localhost:5000``).
        path: The file; ``$DOCKER_CONFIG/config.json`` or ``~/.docker/config.json`` when empty.

    Raises:
        RegistryError: The file is damaged, or a helper failed.
    """
    folder = os.environ.get("DOCKER_CONFIG") or "~/.docker"
    file = Path(path or f"{folder}/config.json").expanduser()
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Credentials()
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"docker's configuration cannot be read: {error}", where=str(file), hint="Correct or remove the file."
        ) from None
    if not isinstance(data, dict):
        return Credentials()
    names = _HUB if host == "docker.io" else (host, f"https://{host}", f"http://{host}", f"https://{host}/v1/")
    helpers = _mapping(data.get("credHelpers"))
    for name in names:
        if name in helpers:
            return _from_helper(str(helpers[name]), name)
    auths = _mapping(data.get("auths"))
    for name in names:
        entry = auths.get(name, auths.get(f"{name}/"))
        if isinstance(entry, dict) and (found := _from_entry(entry, str(file), name)) is not None:
            return found
    if data.get("credsStore"):
        for name in names[:2]:
            found = _from_helper(str(data["credsStore"]), name)
            if found.username:
                return found
    return Credentials()


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _from_entry(entry: dict[str, Any], file: str, name: str) -> Credentials | None:
    if entry.get("identitytoken"):
        return Credentials(username=IDENTITY_TOKEN, password=str(entry["identitytoken"]))
    if entry.get("username"):
        return Credentials(username=str(entry["username"]), password=str(entry.get("password", "")))
    if not entry.get("auth"):
        return None
    try:
        user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError, TypeError):
        colon = user = password = ""
    if not colon:
        raise RegistryError(
            "the stored credentials are damaged", where=f"{file} ($.auths.{name})", hint=f"docker login {name}"
        )
    return Credentials(username=user, password=password.rstrip("\0"))


def _from_helper(helper: str, host: str) -> Credentials:
    if not _HELPER.fullmatch(helper) or helper.startswith("-"):
        raise RegistryError(f"{helper!r} is no name of a credential helper", hint="Correct docker's configuration.")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, "get"], input=host.encode(), capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        raise RegistryError(
            f"the credential helper {program} is not installed", where=host, hint="Install it, or use docker login."
        ) from None
    except subprocess.TimeoutExpired:
        raise RegistryError(f"{program} did not answer within 60 s", where=host, retryable=True) from None
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if "not found" in said.lower():
            return Credentials()
        raise RegistryError(f"{program} failed: {said[:300]}", where=host)
    try:
        answer = json.loads(done.stdout)
        return Credentials(username=str(answer["Username"]), password=str(answer["Secret"]))
    except (ValueError, KeyError, TypeError):
        raise RegistryError(f"{program} gave no credentials that can be read", where=host) from None
