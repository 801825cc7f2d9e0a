"""Configuration of the docker runner."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from windlass.config import option

__all__ = ["DockerArgs", "DockerConfig"]

_LATER = r"|.*\$\{.*"
"""Or a text with a macro, which is filled in for each run."""
_PORT = r"(([0-9.]+:)?\d*:)?\d+(/(tcp|udp|sctp))?" + _LATER
_SIZE = r"(?i:\d+(\.\d+)?([bkmgt]b?)?)" + _LATER


@frozen(kw_only=True)
class DockerConfig:
    """The agent's settings, ``runners: {docker: {…}}`` in launch-config.yaml."""

    docker_host: str = option(
        default="", key="docker-host", help="Address of the engine; DOCKER_HOST, else the default socket, if empty."
    )
    allow_env: tuple[str, ...] = option(
        default=(),
        key="allow-env",
        help="Names (globs) of the agent's environment that a queue may pass on with `env: [NAME]`.",
    )
    registry: dict[str, Any] | None = option(
        default=None,
        help="Where to get credentials for pulling: `type` and keys of a registry plugin. Default: docker's own.",
    )
    timeout: float = option(default=60.0, minimum=1.0, help="Seconds the engine may take for an answer.")


@frozen(kw_only=True)
class DockerArgs:
    """What a queue's config may say for the resource ``docker``: the options of ``docker run`` without dashes.

    An option that may be repeated is a list (or one text), a flag is ``true``. One-letter options and underscores
    are read as well. ``rm`` and ``detach`` change nothing: containers are removed when their output is stored.
    """

    env: tuple[str, ...] = option(
        default=(),
        pattern=r"(?s:[A-Za-z_][A-Za-z0-9_.-]*(=.*)?)",
        help="`NAME=value`; a bare `NAME` is taken from the agent if it allows that name.",
    )
    volume: tuple[str, ...] = option(
        default=(),
        pattern=r"[^:]+:/[^:]*(:[a-zA-Z,]+)?" + _LATER,
        help="`source:target[:ro]`, a path of the engine's host or a volume.",
    )
    tmpfs: tuple[str, ...] = option(default=(), help="`target[:options]`, a directory in memory.")
    gpus: str | int | None = option(default=None, help="`all`, a number, or `device=0,1`.")
    device: tuple[str, ...] = option(default=(), help="`source[:target[:rwm]]`, a device of the host.")
    cpus: float | str | None = option(
        default=None, minimum=0, pattern=r"\d+(\.\d+)?|\.\d+" + _LATER, help="Processor cores, e.g. 1.5."
    )
    cpu_shares: int | None = option(default=None, key="cpu-shares", help="Relative weight.")
    cpu_period: int | None = option(default=None, key="cpu-period", help="Scheduler period in microseconds.")
    cpu_quota: int | None = option(default=None, key="cpu-quota", help="Scheduler quota in microseconds.")
    cpuset_cpus: str | int | None = option(default=None, key="cpuset-cpus", help="Cores to run on, e.g. 0-3.")
    cpuset_mems: str | int | None = option(default=None, key="cpuset-mems", help="Memory nodes to use.")
    memory: str | int | None = option(default=None, minimum=0, pattern=_SIZE, help="Most memory, e.g. 4g.")
    memory_reservation: str | int | None = option(
        default=None,
        key="memory-reservation",
        minimum=0,
        pattern=_SIZE,
        help="Memory to keep when the host runs short, e.g. 2g.",
    )
    memory_swap: str | int | None = option(
        default=None,
        key="memory-swap",
        minimum=-1,
        pattern="-1|" + _SIZE,
        help="Memory and swap, e.g. 8g; -1 is unlimited.",
    )
    shm_size: str | int | None = option(
        default=None, key="shm-size", minimum=0, pattern=_SIZE, help="Size of /dev/shm, e.g. 2g."
    )
    pids_limit: int | None = option(default=None, key="pids-limit", help="Most processes; -1 is unlimited.")
    ulimit: tuple[str, ...] = option(default=(), pattern=r"[a-z]+=-?\d+(:-?\d+)?" + _LATER, help="`name=soft[:hard]`.")
    network: str = option(default="", help="`bridge`, `host`, `none`, or a network's name.")
    add_host: tuple[str, ...] = option(default=(), key="add-host", help="`name:address`.")
    dns: tuple[str, ...] = option(default=(), help="Name servers.")
    publish: tuple[str, ...] = option(default=(), pattern=_PORT, help="`[address:][host port:]port[/protocol]`.")
    hostname: str = option(default="", help="Host name inside.")
    ipc: str = option(default="", help="IPC name space: `private`, `shareable`, `host` …")
    pid: str = option(default="", help="Process name space: `host` or empty.")
    user: str | int | None = option(default=None, help="`name|uid[:group|gid]`.")
    group_add: tuple[str, ...] = option(default=(), key="group-add", help="Further groups.")
    workdir: str = option(default="", pattern=r"/.*" + _LATER, help="Working directory inside, an absolute path.")
    entrypoint: str = option(default="", help="Replaces the image's entry point.")
    label: tuple[str, ...] = option(default=(), help="`name=value`.")
    cap_add: tuple[str, ...] = option(default=(), key="cap-add", help="Capabilities to add.")
    cap_drop: tuple[str, ...] = option(default=(), key="cap-drop", help="Capabilities to drop.")
    security_opt: tuple[str, ...] = option(default=(), key="security-opt", help="Security options.")
    sysctl: tuple[str, ...] = option(default=(), help="`name=value`.")
    runtime: str = option(default="", help="OCI runtime, e.g. nvidia.")
    platform: str = option(default="", help="Platform of the image, e.g. linux/amd64.")
    pull: str = option(default="missing", choices=("missing", "always", "never"), help="When to pull the image.")
    init: bool = option(default=True, help="Run an init inside that passes on signals and reaps processes.")
    privileged: bool = option(default=False, help="All rights of the host.")
    read_only: bool = option(default=False, key="read-only", help="The image's files cannot be changed.")
    rm: bool = option(default=True, help="Changes nothing.")
    detach: bool = option(default=True, help="Changes nothing.")
