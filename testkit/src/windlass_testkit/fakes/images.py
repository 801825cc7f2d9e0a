"""Images without an engine: a builder, the registry it pushes to, and who may ask there."""

from __future__ import annotations

import hashlib
import re
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

from attrs import define, field, frozen

from windlass.builders import Builder, BuildLog, BuildSpec, BuiltImage
from windlass.config import option
from windlass.environments import Environment
from windlass.errors import AccessError, BuildError, RegistryError, UsageError
from windlass.plugins.types import Context
from windlass.registries import Credentials, Registry
from windlass_testkit.fakes.faults import Faults, faulty

__all__ = [
    "BASE_IMAGE",
    "FakeBuilder",
    "FakeBuilderConfig",
    "FakeEnvironment",
    "FakeEnvironmentConfig",
    "FakeRegistry",
    "FakeRegistryConfig",
    "Hub",
    "hub_named",
]

BASE_IMAGE = "kit/base:1"
"""An image that every hub has."""

_REFERENCE = re.compile(r"[a-z0-9.-]+(?::[0-9]+)?(?:/[a-z0-9._-]+)*(?::[A-Za-z0-9_.-]{1,128}|@sha256:[0-9a-f]{64})?")


@define(eq=False)
class Hub:
    """Images by reference, each with its digest: what an engine or a registry holds.

    Attributes:
        host: The registry host that it answers for; no other answers.
        password: What must be given to sign in.
    """

    host: str = "registry.kit"
    images: dict[str, str] = field(factory=lambda: {BASE_IMAGE: f"sha256:{'0' * 63}1"})
    repositories: set[str] = field(factory=set)
    password: str = ""
    lock: threading.Lock = field(factory=threading.Lock)


_hubs: dict[str, Hub] = {}


def hub_named(name: str) -> Hub:
    """The hub of a name, made when it is asked for first."""
    return _hubs.setdefault(name, Hub())


def make_builder(config: FakeBuilderConfig, context: Context) -> Builder:
    """Constructor of the descriptor."""
    return FakeBuilder(hub_named(config.hub or str(context.settings.home)))


def make_registry(config: FakeRegistryConfig, context: Context) -> Registry:
    """Constructor of the descriptor."""
    return FakeRegistry(hub_named(config.hub or str(context.settings.home)), config)


def make_account(config: FakeEnvironmentConfig, context: Context) -> Environment:
    """Constructor of the descriptor."""
    return FakeEnvironment(config.account)


@frozen(kw_only=True)
class FakeRegistryConfig:
    """Settings of the fake registry."""

    hub: str = option(default="", help="Name of the hub; registries of one name hold the same images.")
    username: str = option(default="", help="Name to sign in with.")
    password: str = option(default="", help="Password to sign in with.", secret=True)


@frozen(kw_only=True)
class FakeBuilderConfig:
    """Settings of the fake builder."""

    hub: str = option(default="", help="Name of the hub that images are built into and pushed to.")


@frozen(kw_only=True)
class FakeEnvironmentConfig:
    """Settings of the fake environment."""

    account: str = option(default="kit", help="Name of the account; empty: nobody is signed in.")


@faulty
class FakeRegistry(Registry):
    """Answers from a `Hub`.

    Attributes:
        faults: Calls so far, and what shall go wrong.
    """

    def __init__(self, hub: Hub | None = None, config: FakeRegistryConfig | None = None) -> None:
        self.hub = hub or Hub()
        self._config = config or FakeRegistryConfig()
        self.faults = Faults()

    def resolve(self, ref: str) -> str | None:
        if not _REFERENCE.fullmatch(ref):
            raise UsageError(f"{ref!r} is no image reference", hint="Write e.g. registry.example/team/image:tag.")
        host = ref.split("/", maxsplit=1)[0] if "/" in ref else ""
        if any(mark in host for mark in ".:") and host != self.hub.host:
            raise RegistryError(f"the registry {host} does not answer", hint="Check the address.", retryable=True)
        self._signed_in()
        name, _, digest = ref.partition("@")
        with self.hub.lock:
            if digest:
                return digest if digest in self.hub.images.values() else None
            return self.hub.images.get(name if ":" in name.rpartition("/")[2] else f"{name}:latest")

    def credentials(self, ref: str) -> Credentials:
        return Credentials(username=self._config.username, password=self._config.password)

    def ensure(self, repository: str) -> None:
        self._signed_in()
        with self.hub.lock:
            self.hub.repositories.add(repository)

    def check(self) -> None:
        self._signed_in()

    def _signed_in(self) -> None:
        if self.hub.password != self._config.password:
            raise RegistryError("the registry refused the credentials", hint="Check username and password.")


@faulty
class FakeBuilder(Builder):
    """Builds by hashing: the digest of an image is the digest of what goes into it. ``RUN`` lines run on this host.

    Attributes:
        faults: Calls so far, and what shall go wrong.
    """

    def __init__(self, hub: Hub | None = None) -> None:
        self.hub = hub or Hub()
        self.faults = Faults()

    def build(self, spec: BuildSpec, log: BuildLog) -> BuiltImage:
        dockerfile = Path(spec.context, spec.dockerfile)
        if not dockerfile.is_file():
            raise BuildError(f"there is no {spec.dockerfile} in the build context", where=str(dockerfile))
        digest = _content_digest(spec)
        uri = f"{spec.destination or spec.name}:{digest.removeprefix('sha256:')[:40]}"
        exists = spec.registry.resolve(uri) if spec.destination and spec.registry else self.hub.images.get(uri)
        if exists is not None:
            return BuiltImage(uri=uri, digest=exists, reused=True, platform=spec.platform)
        log.phase("building")
        for number, line in enumerate(dockerfile.read_text(encoding="utf-8").splitlines(), 1):
            log.write(f"#{number} {line}\n".encode())
            word, _, rest = line.strip().partition(" ")
            if word == "FROM" and rest not in (*self.hub.images, "scratch"):
                raise BuildError(f"there is no base image {rest}", where=f"{spec.dockerfile}:{number}", retryable=False)
            if word == "RUN":
                _run(rest, f"{spec.dockerfile}:{number}", log)
        if spec.destination:
            log.phase("pushing")
            if spec.registry is not None:
                spec.registry.ensure(spec.destination)
        with self.hub.lock:
            self.hub.images[uri] = digest
        return BuiltImage(uri=uri, digest=digest, platform=spec.platform)


def _run(command: str, where: str, log: BuildLog) -> None:
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    log.write(done.stdout)
    if done.returncode:
        tail = done.stdout[-1000:].decode(errors="replace")
        raise BuildError(f"the step 'RUN {command}' ended with {done.returncode}", where=where, hint=tail)


def _content_digest(spec: BuildSpec) -> str:
    digest = hashlib.sha256(repr((spec.dockerfile, spec.platform, sorted(spec.build_args.items()))).encode())
    for path in sorted(Path(spec.context).rglob("*")):
        link = path.readlink() if path.is_symlink() else ""
        executable = path.is_file() and bool(path.stat().st_mode & 0o111)
        digest.update(repr((path.relative_to(spec.context).as_posix(), str(link), executable)).encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return f"sha256:{digest.hexdigest()}"


@faulty
class FakeEnvironment(Environment):
    """An account that a test gives or takes away.

    Attributes:
        faults: Calls so far, and what shall go wrong.
    """

    def __init__(self, account: str = "kit") -> None:
        self.account = account
        self.faults = Faults()

    def verify(self) -> dict[str, str]:
        if not self.account:
            raise AccessError("nobody is signed in", hint="Set `account` in the environment's config.")
        return {"account": self.account, "region": self.region}

    def aws_session(self) -> SimpleNamespace:
        return SimpleNamespace(region_name=self.region, account=self.account)

    @property
    def region(self) -> str:
        return "nowhere-1"
