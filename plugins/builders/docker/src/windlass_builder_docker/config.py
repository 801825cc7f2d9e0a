"""Configuration of the docker builder."""

from __future__ import annotations

from attrs import frozen

from windlass.config.options import option

__all__ = ["DockerBuilderConfig"]


@frozen(kw_only=True)
class DockerBuilderConfig:
    """``builder: {type: docker, …}``."""

    destination: str = option(default="", help="Repository to push to, without tag; empty keeps images in the engine.")
    uri: str = option(default="", help="Another word for destination.")
    platform: str = option(
        default="", help="Platform to build for, e.g. linux/amd64.", pattern=r"[a-z0-9]+/[a-z0-9_]+(/v[0-9]+)?"
    )
    docker_host: str = option(default="", key="docker-host", help="Address of the engine; DOCKER_HOST by default.")
    docker_cli: str = option(
        default="", key="docker-cli", help="Path of the docker program for BuildKit; by default one is looked for."
    )
    buildkit: str = option(
        default="auto",
        choices=("auto", "cli", "engine", "off"),
        help="How to build: with the docker program, through the engine's API, or without BuildKit.",
    )
    build_context_store: str = option(
        default="", key="build-context-store", help="Not used: the engine gets the build context directly."
    )
