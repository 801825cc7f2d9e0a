"""From the options of ``docker run`` in a queue's config to what the engine's API wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from docker.types import DeviceRequest, Ulimit
from docker.types import Mount as DockerMount
from docker.utils import parse_bytes

from windlass.config.converter import structure
from windlass.errors import ConfigError
from windlass.models import JSON
from windlass.runners import RunSpec, env_entries
from windlass_runner_docker.config import DockerArgs

__all__ = ["container_options", "read_args"]

_SHORT = {
    "e": "env", "v": "volume", "m": "memory", "c": "cpu-shares", "u": "user", "w": "workdir", "p": "publish",
    "h": "hostname", "l": "label", "d": "detach", "net": "network",
}  # fmt: skip
_MEMORY = {
    "memory": "mem_limit", "memory_reservation": "mem_reservation", "memory_swap": "memswap_limit",
    "shm_size": "shm_size",
}  # fmt: skip
_SAME = {
    "cpu_shares": "cpu_shares", "cpu_period": "cpu_period", "cpu_quota": "cpu_quota", "cpuset_cpus": "cpuset_cpus",
    "cpuset_mems": "cpuset_mems", "pids_limit": "pids_limit", "network": "network", "hostname": "hostname",
    "ipc": "ipc_mode", "pid": "pid_mode", "user": "user", "workdir": "working_dir", "runtime": "runtime",
    "platform": "platform", "privileged": "privileged", "read_only": "read_only", "init": "init",
    "cap_add": "cap_add", "cap_drop": "cap_drop", "device": "devices", "dns": "dns", "group_add": "group_add",
    "security_opt": "security_opt",
}  # fmt: skip
_TEXTS = {"cpuset_cpus", "cpuset_mems", "user"}


def read_args(resource_args: Mapping[str, JSON]) -> DockerArgs:
    """Read a queue's options. Raises `ConfigError` with all problems; unknown names come with the nearest known."""
    named: dict[str, JSON] = {}
    for key, value in resource_args.items():
        name = key.lstrip("-").replace("_", "-")
        name = _SHORT.get(name, name)
        if name in named:
            raise ConfigError(f"the option '{name}' is given twice", where=f"$.resource_args.{key}")
        named[name] = value
    return structure(named, DockerArgs, where="$.resource_args")


def container_options(spec: RunSpec, args: DockerArgs, allowed: tuple[str, ...], environ: Mapping[str, str]) -> Any:
    """Keyword arguments for the SDK's ``containers.create``.

    Raises:
        ConfigError: A value does not fit.
    """
    options: dict[str, Any] = {}
    for name, key in _SAME.items():
        value = getattr(args, name)
        if value not in (None, "", (), False):
            options[key] = str(value) if name in _TEXTS else list(value) if isinstance(value, tuple) else value
    for name, key in _MEMORY.items():
        value = getattr(args, name)
        if value is not None:
            options[key] = _checked(name, lambda v=value: v if str(v) == "-1" else parse_bytes(v))
    if args.cpus is not None:
        options["nano_cpus"] = _checked("cpus", lambda: int(float(args.cpus or 0) * 1e9))
    if spec.gpus:
        options["device_requests"] = [DeviceRequest(device_ids=list(spec.gpus), capabilities=[["gpu"]])]
    elif args.gpus is not None:
        options["device_requests"] = [_checked("gpus", lambda: _gpus(str(args.gpus)))]
    if args.ulimit:
        options["ulimits"] = [_checked("ulimit", lambda text=text: _ulimit(text)) for text in args.ulimit]
    if args.sysctl:
        options["sysctls"] = dict(_pairs("sysctl", args.sysctl))
    if args.tmpfs:
        options["tmpfs"] = {target: rest for target, _, rest in (text.partition(":") for text in args.tmpfs)}
    if args.add_host:
        options["extra_hosts"] = dict(text.split(":", 1) for text in args.add_host if ":" in text)
    if args.publish:
        options["ports"] = dict(_port(text) for text in args.publish)
    options["volumes"] = list(args.volume)
    options["mounts"] = [
        DockerMount(target=mount.target, source=mount.source, type="bind", read_only=mount.read_only)
        for mount in spec.mounts
    ]
    options["environment"] = {
        **env_entries(args.env, allowed, environ), **spec.env, **spec.secret_env,
    }  # fmt: skip
    labels = dict(_pairs("label", args.label))
    options["labels"] = {**labels, **_labels(spec)}
    command = list(spec.command)
    if args.entrypoint:
        options["entrypoint"] = [args.entrypoint]
    elif command:
        # The first word replaces the image's entry point, else it would become an argument of it.
        options["entrypoint"], command = command[:1], command[1:]
    options["command"] = command or list(spec.args) or None
    return options


def _labels(spec: RunSpec) -> dict[str, str]:
    facts = {
        "attempt": spec.attempt_id, "run": spec.run_id, "entity": spec.entity, "project": spec.project,
        "queue": spec.queue, "author": spec.author, "name": spec.name,
    }  # fmt: skip
    return {f"windlass.{key}": value for key, value in facts.items() if value}


def _gpus(text: str) -> DeviceRequest:
    text = text.strip().strip('"')
    if text == "all":
        return DeviceRequest(count=-1, capabilities=[["gpu"]])
    if text.isdigit():
        return DeviceRequest(count=int(text), capabilities=[["gpu"]])
    key, equals, ids = text.partition("=")
    if not equals or key != "device" or not ids:
        raise ValueError("write all, a number, or device=0,1")
    return DeviceRequest(device_ids=ids.split(","), capabilities=[["gpu"]])


def _ulimit(text: str) -> Ulimit:
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    return Ulimit(name=name, soft=int(soft), hard=int(hard or soft))


def _port(text: str) -> tuple[str, Any]:
    head, _, port = text.rpartition(":")
    address, _, host_port = head.rpartition(":")
    if not head:
        return port, None
    return port, (address, int(host_port or 0)) if address else int(host_port)


def _pairs(name: str, entries: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for index, entry in enumerate(entries):
        key, _, value = entry.partition("=")
        if not key:
            raise ConfigError(f"{entry!r} has no name", where=f"$.resource_args.{name}[{index}]", hint="name=value")
        yield key, value


def _checked(name: str, read: Any) -> Any:
    try:
        return read()
    except Exception as error:
        raise ConfigError(
            f"the value does not fit: {error}", where=f"$.resource_args.{name.replace('_', '-')}"
        ) from None
